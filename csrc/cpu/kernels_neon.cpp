// The vector kernels for NEON.
#if defined(__aarch64__) || defined(_M_ARM64)
#include "cpu/simd_neon.h"
//
#include "cpu/kernels_vector.h"

namespace rtengine {
extern const VectorKernels kNeonKernels = kKernels<float>;
extern const VectorKernels kNeonBf16Kernels = kKernels<Bf16>;
}  // namespace rtengine
#endif
