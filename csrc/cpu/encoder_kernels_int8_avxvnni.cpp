// The encoder's int8 kernels for AVX-VNNI.
#if defined(__x86_64__) || defined(_M_X64)
#define RTENGINE_AVXVNNI
#ifndef RTENGINE_DPBUSD
#define RTENGINE_DPBUSD _mm256_dpbusd_avx_epi32
#endif
#include "cpu/int8_avx2.h"
//
#include "cpu/encoder_bytes.h"
//
#include "cpu/encoder_kernels_int8.h"

namespace rtengine {
namespace {
constexpr int kTile = 2, kSamples = 6;  // of 16 registers
}
}  // namespace rtengine

#include "cpu/encoder_kernels_vector.h"

namespace rtengine {
extern const EncoderKernels kAvxVnniInt8EncoderKernels{
    kWidth, kGroup, kTile, sizeof(Element), Products::kSignedShift, Products::kUnsignedShift, input, layer, project};
}
#endif
