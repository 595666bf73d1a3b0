// Floats of AVX-512: 16 floats a vector, 32 registers. For translation units of this instruction set alone.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
// GCC's own header reads a deliberately undefined register in _mm512_max_ps and others (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

namespace {

struct Simd {
  using Float = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kBatchVectors = 4;      // with 4 samples: 16 sums for 4 weights and 4 inputs read
  static constexpr int kPrefetchBytes = 3072;  // 30 layers x 32: 4.3 us a sample without, 3.5 with 1 to 8 KiB (Zen 5)

  static Float zero() { return _mm512_setzero_ps(); }
  static Float broadcast(float x) { return _mm512_set1_ps(x); }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  // The lower and the upper halves of the 16 words at p, as the upper halves of floats: bfloat16 widened.
  static Float lower_halves(const void* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
  static Float upper_halves(const void* p) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(-65536)));
  }
  static void store(float* p, Float x) { _mm512_storeu_ps(p, x); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float divide(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float min(Float a, Float b) { return _mm512_min_ps(a, b); }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float round(Float x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Float scale(Float x, Float n) { return _mm512_scalef_ps(x, n); }  // x times 2^n for whole n
  static float sum(Float x) { return _mm512_reduce_add_ps(x); }
};

}  // namespace
