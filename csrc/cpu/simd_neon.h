// Floats of NEON: 4 floats a vector, 32 registers. For translation units of this instruction set alone.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace {

struct Simd {
  using Float = float32x4_t;
  static constexpr int kWidth = 4;
  static constexpr int kBatchVectors = 4;   // with 4 samples: 16 sums, 4 weights and an input in 32 registers
  static constexpr int kPrefetchBytes = 0;  // not measured

  static Float zero() { return vdupq_n_f32(0.0f); }
  static Float broadcast(float x) { return vdupq_n_f32(x); }
  static Float load(const float* p) { return vld1q_f32(p); }
  // The lower and the upper halves of the 4 words at p, as the upper halves of floats: bfloat16 widened.
  static Float lower_halves(const void* p) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p))), 16));
  }
  static Float upper_halves(const void* p) {
    const uint32x4_t words = vreinterpretq_u32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p)));
    return vreinterpretq_f32_u32(vandq_u32(words, vdupq_n_u32(0xFFFF0000u)));
  }
  static void store(float* p, Float x) { vst1q_f32(p, x); }
  static Float add(Float a, Float b) { return vaddq_f32(a, b); }
  static Float subtract(Float a, Float b) { return vsubq_f32(a, b); }
  static Float multiply(Float a, Float b) { return vmulq_f32(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
  static Float divide(Float a, Float b) { return vdivq_f32(a, b); }
  static Float min(Float a, Float b) { return vminnmq_f32(a, b); }  // of a NaN and a number the number, as on x86
  static Float max(Float a, Float b) { return vmaxnmq_f32(a, b); }
  static Float round(Float x) { return vrndnq_f32(x); }
  // x times 2^n for whole n, where the result is a normal number: n is added to the exponent.
  static Float scale(Float x, Float n) {
    const int32x4_t exponent = vshlq_n_s32(vcvtnq_s32_f32(n), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), exponent));
  }
  static float sum(Float x) { return vaddvq_f32(x); }
};

}  // namespace
