// The kernels of an encoder that runs once a hop, for AVX2.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx2.h"
//
#include "cpu/hop_kernels_vector.h"

namespace rtengine {
extern const HopKernels kAvx2HopKernels{kWidth, product, filters};
}
#endif
