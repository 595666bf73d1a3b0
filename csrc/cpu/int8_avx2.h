// Integer products of AVX2, and of AVX-VNNI where RTENGINE_AVXVNNI is defined: 8 sums a vector. For translation units
// of these instruction sets alone; the contract of `Int8` is in kernels_int8.h.
#pragma once

#include <cstdint>

#include "cpu/simd_avx2.h"

namespace {

struct Int8Lanes {
  using Int = __m256i;
  static constexpr int kWidth = 8;
  static constexpr int kSums = 8;  // of 16 registers
  static constexpr bool kFused = false;

  static Int zero() { return _mm256_setzero_si256(); }
  static Int load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void store(void* p, Int x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  template <int N>
  static Int shift_left(Int x) {
    return _mm256_slli_epi32(x, N);
  }
  template <int N>
  static Int shift_right(Int x) {  // of signed numbers
    return _mm256_srai_epi32(x, N);
  }
  static Int broadcast(std::int32_t x) { return _mm256_set1_epi32(x); }
  static Int min(Int a, Int b) { return _mm256_min_epi32(a, b); }
  static Int max(Int a, Int b) { return _mm256_max_epi32(a, b); }
  static __m256 to_float(Int x) { return _mm256_cvtepi32_ps(x); }
  static Int round(__m256 x) { return _mm256_cvtps_epi32(x); }
  static void store_bytes(std::uint8_t* to, Int x) {  // the lowest byte of each lane
    const Int lowest = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const Int halves = _mm256_shuffle_epi8(x, lowest);
    const __m128i bytes = _mm_unpacklo_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), bytes);
  }

 protected:
  static Int four(const std::uint8_t* bytes) {
    std::int32_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    return _mm256_set1_epi32(word);
  }
};

#if defined(RTENGINE_AVXVNNI)

struct Int8 : Int8Lanes {
  using Operand = __m256i;
  static constexpr int kOffset = 128;  // vpdpbusd takes its first factor unsigned

  static Operand operand(const std::uint8_t* bytes) { return four(bytes); }
  static Int dot(Int sums, Operand x, Int weights) { return RTENGINE_DPBUSD(sums, x, weights); }
};

#else

// vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits and saturates. With |x| up to 128 as the
// unsigned factor and the sign of x given to the weight (up to 127), a pair is at most 32,512: it never does.
struct Int8 : Int8Lanes {
  struct Operand {
    Int sign, magnitude;
  };
  static constexpr int kOffset = 0;

  static Operand operand(const std::uint8_t* bytes) {
    const Int x = four(bytes);
    return {x, _mm256_abs_epi8(x)};
  }
  static Int dot(Int sums, Operand x, Int weights) {
    const Int pairs = _mm256_maddubs_epi16(x.magnitude, _mm256_sign_epi8(weights, x.sign));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

#endif

}  // namespace
