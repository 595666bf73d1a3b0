// Integer products of AVX2, and of AVX-VNNI where RTENGINE_AVXVNNI is defined: 8 sums a vector. For translation units
// of these instruction sets alone; the contract of `Int8` is in kernels_integer.h.
#pragma once

#include <cstdint>

#include "cpu/byte_sum_avx2.h"
#include "cpu/simd_avx2.h"
#include "cpu/whole_byte_pairs.h"

namespace {

struct Int8Lanes {
  using Int = __m256i;
  static constexpr int kWidth = 8;
  static constexpr int kSums = 8;  // of 16 registers
  static constexpr int kTileUnits = 4;
  static constexpr bool kFused = false;

  static Int zero() { return _mm256_setzero_si256(); }
  static Int load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void store(void* p, Int x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static Int subtract(Int a, Int b) { return _mm256_sub_epi32(a, b); }
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
  static Int bits(__m256 x) { return _mm256_castps_si256(x); }
  static __m256 from_bits(Int x) { return _mm256_castsi256_ps(x); }
  static Int round(__m256 x) { return _mm256_cvtps_epi32(x); }
  static void store_bytes(std::uint8_t* to, Int x) {  // the lowest byte of each lane
    const Int lowest = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const Int halves = _mm256_shuffle_epi8(x, lowest);
    const __m128i bytes = _mm_unpacklo_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), bytes);
  }

  // Products of half bytes with signed bytes.
  using PairOperand = __m256i;
  static constexpr int kFoldColumns = 32;
  static PairOperand pair_operand(const std::uint8_t* bytes) { return four(bytes); }
  static Int lower_halves(Int bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
  static std::int32_t byte_sum(const std::uint8_t* bytes, int count) { return signed_byte_sum(bytes, count); }

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
  static constexpr bool kInverts = false;

  static Operand operand(const std::uint8_t* bytes) { return four(bytes); }
  static Int dot(Int sums, Operand x, Int weights) { return unsigned_dot(sums, x, weights); }
  static Int unsigned_dot(Int sums, Int unsigned_bytes, Int signed_bytes) {
    return RTENGINE_DPBUSD(sums, unsigned_bytes, signed_bytes);
  }
  using PairSums = WholeBytePairs<Int8>;
};

#else

// vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits and saturates. With |x| up to 128 as the
// unsigned factor and, where x is negative, the bits of the weight (up to 127) inverted, which makes it -w - 1, a pair
// is from -32,768 to 32,258: it never does. Four operations for 32 products, of which two have to wait for the two
// pipes that multiply (Zen 4); vpsignb instead of vpxor, which would give -w, makes it three.
struct Int8 : Int8Lanes {
  struct Operand {
    Int magnitude, negative;
  };
  static constexpr int kOffset = 0;
  static constexpr bool kInverts = true;

  static Operand operand(const std::uint8_t* bytes) { return operand(four(bytes)); }
  static Int dot(Int sums, Operand x, Int weights) { return multiplied(sums, x, weights); }
  static std::int32_t lack(const std::uint8_t* bytes, int count) {
    __m128i sums = _mm_setzero_si128();
    for (int i = 0; i < count; i += 16) {
      const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
      const __m128i of_negative = _mm_and_si128(_mm_abs_epi8(x), _mm_cmpgt_epi8(_mm_setzero_si128(), x));
      sums = _mm_add_epi64(sums, _mm_sad_epu8(of_negative, _mm_setzero_si128()));
    }
    return _mm_cvtsi128_si32(sums) + _mm_extract_epi32(sums, 2);
  }

  // A weight of the past taps meets several inputs, so that it is what is taken apart.
  struct PastProducts {
    using Weights = Int8::Operand;
    using Operand = Int;
    static Weights weights(Int bytes) { return Int8::operand(bytes); }
    static Operand operand(const std::uint8_t* bytes) { return four(bytes); }
    static Int dot(Int sums, Operand x, Weights weights) { return multiplied(sums, weights, x); }
  };

  // A pair of products is at most 2 * 15 * 128, and eight of those, of 32 columns, still fit into 16 bits.
  struct PairSums {
    struct Halves {
      Int upper, lower;
    };
    static Halves split(Int bytes) { return {lower_halves(_mm256_srli_epi16(bytes, 4)), lower_halves(bytes)}; }

    Int upper_pairs = zero(), lower_pairs = zero(), upper_sums = zero(), lower_sums = zero();
    void add(PairOperand x, Halves weights) {
      upper_pairs = _mm256_add_epi16(upper_pairs, _mm256_maddubs_epi16(weights.upper, x));
      lower_pairs = _mm256_add_epi16(lower_pairs, _mm256_maddubs_epi16(weights.lower, x));
#if defined(__GNUC__)
      __asm__("" : "+x"(upper_pairs), "+x"(lower_pairs));  // as in multiplied()
#endif
    }
    void fold() {
      upper_sums = _mm256_add_epi32(upper_sums, widened(upper_pairs));
      lower_sums = _mm256_add_epi32(lower_sums, widened(lower_pairs));
      upper_pairs = lower_pairs = zero();
    }
    Int upper() const { return upper_sums; }
    Int lower() const { return lower_sums; }
  };

 private:
  static Operand operand(Int bytes) { return {_mm256_abs_epi8(bytes), _mm256_cmpgt_epi8(zero(), bytes)}; }
  static Int multiplied(Int sums, Operand a, Int b) {
    const Int pairs = _mm256_maddubs_epi16(a.magnitude, _mm256_xor_si256(b, a.negative));
    sums = _mm256_add_epi32(sums, widened(pairs));
#if defined(__GNUC__)
    __asm__("" : "+x"(sums));  // GCC would add up in a tree, whose leaves fill the stack
#endif
    return sums;
  }
  static Int widened(Int pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
};

#endif

}  // namespace
