// The encoder's float32 kernels for AVX-512.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx512.h"
//
#include "cpu/encoder_kernels_float.h"

namespace rtengine {
namespace {
constexpr int kTile = 4, kSamples = 6;  // of 32 registers
}
}  // namespace rtengine

#include "cpu/encoder_kernels_vector.h"

namespace rtengine {
extern const EncoderKernels kAvx512EncoderKernels{kWidth, kGroup, kTile, sizeof(Element), 0, 0, input, layer, project};
}
#endif
