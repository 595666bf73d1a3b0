// The int8 kernels for AVX2.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/int8_avx2.h"
//
#include "cpu/weights_bytes.h"
//
#include "cpu/kernels_integer_vector.h"

namespace rtengine {
extern const IntegerKernels kAvx2Int8Kernels{
    Int8::kOffset, Weights::kInputOffset, Int8::kTileUnits, Int8::kInverts, begin_hop, step, sample, most_probable};
}
#endif
