// Integer products of NEON, and of its dot products (ARMv8.2) where RTENGINE_NEONDOT is defined: 4 sums a vector. For
// translation units of these instruction sets alone; the contract of `Int8` is in kernels_integer.h.
#pragma once

#include <cstdint>

#include "cpu/simd_neon.h"

namespace {

struct Int8 {
  using Int = int32x4_t;
  using Operand = int8x16_t;
  static constexpr int kOffset = 0;
  static constexpr bool kInverts = false;
  static constexpr int kWidth = 4;
  static constexpr int kSums = 16;  // of 32 registers
  static constexpr int kTileUnits = 8;
  static constexpr bool kFused = false;

  static Int zero() { return vdupq_n_s32(0); }
  static Int load(const void* p) { return vreinterpretq_s32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p))); }
  static void store(void* p, Int x) { vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_s32(x)); }
  static Int add(Int a, Int b) { return vaddq_s32(a, b); }
  template <int N>
  static Int shift_left(Int x) {
    return vshlq_n_s32(x, N);
  }
  template <int N>
  static Int shift_right(Int x) {  // of signed numbers
    return vshrq_n_s32(x, N);
  }
  static Int broadcast(std::int32_t x) { return vdupq_n_s32(x); }
  static Int min(Int a, Int b) { return vminq_s32(a, b); }
  static Int max(Int a, Int b) { return vmaxq_s32(a, b); }
  static float32x4_t to_float(Int x) { return vcvtq_f32_s32(x); }
  static Int bits(float32x4_t x) { return vreinterpretq_s32_f32(x); }
  static float32x4_t from_bits(Int x) { return vreinterpretq_f32_s32(x); }
  static Int round(float32x4_t x) { return vcvtnq_s32_f32(x); }
  static void store_bytes(std::uint8_t* to, Int x) {  // the lowest byte of each lane
    const int16x4_t halves = vmovn_s32(x);
    const std::uint32_t bytes = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(halves, halves))), 0);
    __builtin_memcpy(to, &bytes, sizeof bytes);
  }
  static Operand operand(const std::uint8_t* four) {
    std::int32_t word;
    __builtin_memcpy(&word, four, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
  }

#if defined(RTENGINE_NEONDOT)
  static Int dot(Int sums, Operand x, Int weights) { return vdotq_s32(sums, x, vreinterpretq_s8_s32(weights)); }
#else
  // Two products of |x| up to 128 and |w| up to 127 are at most 32,512: they fit into 16 bits.
  static Int dot(Int sums, Operand x, Int weights) {
    const int8x16_t w = vreinterpretq_s8_s32(weights);
    const int16x8_t lower = vmull_s8(vget_low_s8(x), vget_low_s8(w)), upper = vmull_high_s8(x, w);
    return vpadalq_s16(sums, vpaddq_s16(lower, upper));
  }
#endif

  // Products of half bytes with signed bytes.
  using PairOperand = Operand;
  static constexpr int kFoldColumns = 32;
  struct PairSums {
    struct Halves {
      Int upper, lower;
    };
    static Halves split(Int bytes) {
      const uint8x16_t all = vreinterpretq_u8_s32(bytes);
      return {vreinterpretq_s32_u8(vshrq_n_u8(all, 4)), vreinterpretq_s32_u8(vandq_u8(all, vdupq_n_u8(15)))};
    }

    Int upper_sums = zero(), lower_sums = zero();
    void add(PairOperand x, Halves weights) {
      upper_sums = dot(upper_sums, x, weights.upper);
      lower_sums = dot(lower_sums, x, weights.lower);
    }
    void fold() {}
    Int upper() const { return upper_sums; }
    Int lower() const { return lower_sums; }
  };
  static PairOperand pair_operand(const std::uint8_t* four) { return operand(four); }
  static std::int32_t byte_sum(const std::uint8_t* bytes, int count) {  // count: a multiple of 16
    std::int32_t sum = 0;
    for (int i = 0; i < count; i += 16) sum += vaddlvq_s8(vreinterpretq_s8_u8(vld1q_u8(bytes + i)));
    return sum;
  }
};

}  // namespace
