// The sum of signed bytes, for translation units of AVX2 and beyond.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

// count: a multiple of 32.
inline std::int32_t signed_byte_sum(const std::uint8_t* bytes, int count) {
  __m256i sums = _mm256_setzero_si256();
  for (int i = 0; i < count; i += 32) {  // vpsadbw takes bytes unsigned: 128 more each
    const __m256i part = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + i));
    const __m256i shifted = _mm256_xor_si256(part, _mm256_set1_epi8(-128));
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(shifted, _mm256_setzero_si256()));
  }
  const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  return _mm_cvtsi128_si32(half) + _mm_extract_epi32(half, 2) - 128 * count;
}

}  // namespace
