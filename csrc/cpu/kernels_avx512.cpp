// The vector kernels for AVX-512.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx512.h"
//
#include "cpu/kernels_vector.h"

namespace rtengine {
extern const VectorKernels kAvx512Kernels = kKernels<float>;
extern const VectorKernels kAvx512Bf16Kernels = kKernels<Bf16>;
}  // namespace rtengine
#endif
