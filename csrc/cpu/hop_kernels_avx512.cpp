// The kernels of an encoder that runs once a hop, for AVX-512.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx512.h"
//
#include "cpu/hop_kernels_vector.h"

namespace rtengine {
extern const HopKernels kAvx512HopKernels{kWidth, product, filters};
}
#endif
