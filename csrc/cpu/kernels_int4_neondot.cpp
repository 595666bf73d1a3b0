// The int4 kernels for NEON with dot products.
#if defined(__aarch64__) || defined(_M_ARM64)
#define RTENGINE_NEONDOT
#include "cpu/int8_neon.h"
//
#include "cpu/weights_nibbles.h"
//
#include "cpu/kernels_integer_vector.h"

namespace rtengine {
extern const IntegerKernels kNeonDotInt4Kernels{
    Int8::kOffset, Weights::kInputOffset, Int8::kTileUnits, Int8::kInverts, begin_hop, step, sample, most_probable};
}
#endif
