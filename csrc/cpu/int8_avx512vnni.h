// Integer products of AVX-512 VNNI: 16 sums a vector. For translation units of this instruction set alone; the contract
// of `Int8` is in kernels_integer.h.
#pragma once

#include <cstdint>

#include "cpu/byte_sum_avx2.h"
#include "cpu/simd_avx512.h"
#include "cpu/whole_byte_pairs.h"

namespace {

struct Int8 {
  using Int = __m512i;
  using Operand = __m512i;
  static constexpr int kOffset = 128;  // vpdpbusd takes its first factor unsigned
  static constexpr bool kInverts = false;
  static constexpr int kWidth = 16;
  static constexpr int kSums = 16;  // of 32 registers
  static constexpr int kTileUnits = 8;
  static constexpr bool kFused = true;  // room for the past taps' sums beside

  static Int zero() { return _mm512_setzero_si512(); }
  static Int load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Int x) { _mm512_storeu_si512(p, x); }
  static Operand operand(const std::uint8_t* four) {
    std::int32_t word;
    __builtin_memcpy(&word, four, sizeof word);
    return _mm512_set1_epi32(word);
  }
  static Int dot(Int sums, Operand x, Int weights) { return unsigned_dot(sums, x, weights); }
  static Int unsigned_dot(Int sums, Int unsigned_bytes, Int signed_bytes) {
#if defined(__GNUC__)
    // As an intrinsic, GCC 12 copies every sum to another register and back in each turn of a loop: a third slower.
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes));
    return sums;
#else
    return _mm512_dpbusd_epi32(sums, unsigned_bytes, signed_bytes);
#endif
  }

  using PairSums = WholeBytePairs<Int8>;
  using PairOperand = __m512i;
  static constexpr int kFoldColumns = 32;
  static PairOperand pair_operand(const std::uint8_t* four) { return operand(four); }
  static Int lower_halves(Int bytes) { return _mm512_and_si512(bytes, _mm512_set1_epi8(15)); }
  static std::int32_t byte_sum(const std::uint8_t* bytes, int count) { return signed_byte_sum(bytes, count); }

  static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static Int subtract(Int a, Int b) { return _mm512_sub_epi32(a, b); }
  template <int N>
  static Int shift_left(Int x) {
    return _mm512_slli_epi32(x, N);
  }
  template <int N>
  static Int shift_right(Int x) {  // of signed numbers
    return _mm512_srai_epi32(x, N);
  }
  static Int broadcast(std::int32_t x) { return _mm512_set1_epi32(x); }
  static Int min(Int a, Int b) { return _mm512_min_epi32(a, b); }
  static Int max(Int a, Int b) { return _mm512_max_epi32(a, b); }
  static __m512 to_float(Int x) { return _mm512_cvtepi32_ps(x); }
  static Int bits(__m512 x) { return _mm512_castps_si512(x); }
  static __m512 from_bits(Int x) { return _mm512_castsi512_ps(x); }
  static Int round(__m512 x) { return _mm512_cvtps_epi32(x); }
  static void store_bytes(std::uint8_t* to, Int x) {  // the lowest byte of each lane
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x));
  }
};

}  // namespace
