// The vector kernels for AVX2 with FMA.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx2.h"
//
#include "cpu/kernels_vector.h"

namespace rtengine {
extern const VectorKernels kAvx2Kernels = kKernels<float>;
extern const VectorKernels kAvx2Bf16Kernels = kKernels<Bf16>;
}  // namespace rtengine
#endif
