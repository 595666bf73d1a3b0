// Activations and weights of the encoder's int8 kernels on AVX2 as 16-bit words, two products an operation. Of bytes,
// four products take three multiplications' worth of work on the two pipes that multiply (vpsignb, vpmaddubsw,
// vpmaddwd), of words two (vpmaddwd twice).
#pragma once

#include <cstdint>

#include "cpu/int8_avx2.h"
#include "cpu/unroll.h"

namespace rtengine {
namespace {

struct Products : Int8Lanes {
  using Element = std::int16_t;
  using Weight = std::int16_t;
  using Operand = __m256i;
  static constexpr int kGroup = 2;
  static constexpr int kSignedShift = 0, kUnsignedShift = 0;  // see EncoderKernels
  static Operand operand(const Element* two) {
    std::int32_t word;
    __builtin_memcpy(&word, two, sizeof word);
    return _mm256_set1_epi32(word);
  }
  static Int dot(Int sums, Operand x, Int weights) { return _mm256_add_epi32(sums, _mm256_madd_epi16(x, weights)); }
  static void store_elements(Element* to, Int x) {
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_packs_epi32(x, x), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(halves));
  }
};

}  // namespace
}  // namespace rtengine
