// The encoder's int8 kernels for the dot products of NEON.
#if defined(__aarch64__) || defined(_M_ARM64)
#define RTENGINE_NEONDOT
#include "cpu/int8_neon.h"
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
extern const EncoderKernels kNeonDotInt8EncoderKernels{
    kWidth, kGroup, kTile, sizeof(Element), Products::kSignedShift, Products::kUnsignedShift, input, layer, project};
}
#endif
