// The encoder's float32 kernels for NEON.
#if defined(__aarch64__) || defined(_M_ARM64)
#include "cpu/simd_neon.h"
//
#include "cpu/encoder_kernels_float.h"

namespace rtengine {
namespace {
constexpr int kTile = 4, kSamples = 6;  // of 32 registers
}
}  // namespace rtengine

#include "cpu/encoder_kernels_vector.h"

namespace rtengine {
extern const EncoderKernels kNeonEncoderKernels{kWidth, kGroup, kTile, sizeof(Element), 0, 0, input, layer, project};
}
#endif
