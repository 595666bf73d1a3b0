// The int8 kernels for NEON as every processor of this architecture has it.
#if defined(__aarch64__) || defined(_M_ARM64)
#include "cpu/int8_neon.h"
//
#include "cpu/weights_bytes.h"
//
#include "cpu/kernels_integer_vector.h"

namespace rtengine {
extern const IntegerKernels kNeonInt8Kernels{
    Int8::kOffset, Weights::kInputOffset, Int8::kTileUnits, Int8::kInverts, begin_hop, step, sample, most_probable};
}
#endif
