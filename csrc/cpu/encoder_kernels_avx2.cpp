// The encoder's float32 kernels for AVX2.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx2.h"
//
#include "cpu/encoder_kernels_float.h"

namespace rtengine {
namespace {
constexpr int kTile = 2, kSamples = 6;  // of 16 registers
}
}  // namespace rtengine

#include "cpu/encoder_kernels_vector.h"

namespace rtengine {
extern const EncoderKernels kAvx2EncoderKernels{kWidth, kGroup, kTile, sizeof(Element), 0, 0, input, layer, project};
}
#endif
