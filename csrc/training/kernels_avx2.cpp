// The training kernels for AVX2 with FMA.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx2.h"
//
#include "training/kernels_vector.h"

namespace rttraining {
extern const Kernels kAvx2Kernels = kernels_with(accumulate);
}
#endif
