// The training kernels for AVX-512.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx512.h"
//
#include "training/kernels_vector.h"

namespace rttraining {
extern const Kernels kAvx512Kernels = kernels_with(accumulate);
}
#endif
