// The encoder's int8 kernels for AVX-512 VNNI.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/int8_avx512vnni.h"
//
#include "cpu/encoder_bytes.h"
//
#include "cpu/encoder_kernels_int8.h"

namespace rtengine {
namespace {
constexpr int kTile = 4, kSamples = 6;  // of 32 registers
}
}  // namespace rtengine

#include "cpu/encoder_kernels_vector.h"

namespace rtengine {
extern const EncoderKernels kAvx512VnniInt8EncoderKernels{
    kWidth, kGroup, kTile, sizeof(Element), Products::kSignedShift, Products::kUnsignedShift, input, layer, project};
}
#endif
