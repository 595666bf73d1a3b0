// The encoder's int8 kernels for AVX2.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/encoder_words_avx2.h"
//
#include "cpu/encoder_kernels_int8.h"

namespace rtengine {
namespace {
constexpr int kTile = 2, kSamples = 6;  // of 16 registers
}
}  // namespace rtengine

#include "cpu/encoder_kernels_vector.h"

namespace rtengine {
extern const EncoderKernels kAvx2Int8EncoderKernels{
    kWidth, kGroup, kTile, sizeof(Element), Products::kSignedShift, Products::kUnsignedShift, input, layer, project};
}
#endif
