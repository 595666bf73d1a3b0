// The kernels of an encoder that runs once a hop, for NEON.
#if defined(__aarch64__) || defined(_M_ARM64)
#include "cpu/simd_neon.h"
//
#include "cpu/hop_kernels_vector.h"

namespace rtengine {
extern const HopKernels kNeonHopKernels{kWidth, product, filters};
}
#endif
