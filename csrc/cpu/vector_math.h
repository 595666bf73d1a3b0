// Functions of vectors that every kernel needs: 2^x, the gate, drawing a class. Included after `Simd` (see simd_avx2.h)
// by one translation unit an instruction set. Everything is in an unnamed namespace and no function of the standard
// library is called: an inline function compiled here must never be the one the linker keeps for all.
#pragma once

#include <cstdint>

#include "cpu/decoder_config.h"
#include "cpu/unroll.h"

namespace rtengine {
namespace {

using Float = Simd::Float;
constexpr int kWidth = Simd::kWidth;

// 2^x for x in [-126, 126], relative error below 2e-7: 1 + r q(r) on [-0.5, 0.5], q fitted for the least relative
// error, exactly 1 at 0.
RTENGINE_INLINE Float exp2(Float x) {
  const Float whole = Simd::round(x);
  const Float r = Simd::subtract(x, whole);
  const Float r2 = Simd::multiply(r, r);
  const Float low = Simd::multiply_add(Simd::broadcast(0.24022242426872253f), r, Simd::broadcast(0.6931470036506653f));
  const Float high =
      Simd::multiply_add(Simd::broadcast(0.009671511128544807f), r, Simd::broadcast(0.05550733953714371f));
  const Float top = Simd::multiply_add(Simd::broadcast(0.0013264708686619997f), r2, high);
  const Float q = Simd::multiply_add(top, r2, low);
  return Simd::scale(Simd::multiply_add(q, r, Simd::broadcast(1.0f)), whole);
}

// sigmoid(a) tanh(b) from -log2(e) a and -2 log2(e) b: (1 - v) / ((1 + u)(1 + v)) with u = e^-a, v = e^-2b; one
// division. Absolute error below 3e-7. Beyond |60| both have long been 0 or 1 in float32, and the product stays finite.
RTENGINE_INLINE Float gate(Float a, Float b) {
  const Float high = Simd::broadcast(60.0f), low = Simd::broadcast(-60.0f), one = Simd::broadcast(1.0f);
  const Float u = exp2(Simd::max(Simd::min(a, high), low));
  const Float v = exp2(Simd::max(Simd::min(b, high), low));
  return Simd::divide(Simd::subtract(one, v), Simd::multiply(Simd::add(one, u), Simd::add(one, v)));
}

RTENGINE_INLINE float greatest(const float* logits) {
  Float most = Simd::load(logits);
  for (int i = kWidth; i < kClasses; i += kWidth) most = Simd::max(most, Simd::load(logits + i));
  float lanes[kWidth];
  Simd::store(lanes, most);
  float result = lanes[0];
  for (int i = 1; i < kWidth; ++i) result = lanes[i] > result ? lanes[i] : result;
  return result;
}

[[maybe_unused]] int most_probable_class(const float* logits) noexcept {
  const float top = greatest(logits);
  for (int i = 0; i < kClasses; ++i)
    if (logits[i] == top) return i;
  return 0;
}

// Sums over groups of 16 classes first: a running sum over 256 classes is a chain of 256 dependent additions.
// probabilities [256]: room for the softmax, not normalised.
int sample_class(const float* logits, float* probabilities, float temperature, float uniform) noexcept {
  constexpr int kGroup = 16, kGroups = kClasses / kGroup;
  const Float top = Simd::broadcast(greatest(logits));
  const Float scale = Simd::broadcast(1.44269504f / temperature);  // log2(e) / temperature
  const Float floor = Simd::broadcast(-100.0f);                    // 2^-100 of the greatest: never drawn
  float upto[kGroups];                                             // running sum with each group
  float total = 0.0f;
  for (int g = 0; g < kGroups; ++g) {
    Float sum = Simd::zero();
    for (int i = g * kGroup; i < (g + 1) * kGroup; i += kWidth) {
      const Float p = exp2(Simd::max(Simd::multiply(Simd::subtract(Simd::load(logits + i), top), scale), floor));
      Simd::store(probabilities + i, p);
      sum = Simd::add(sum, p);
    }
    upto[g] = total += Simd::sum(sum);
  }
  const float threshold = uniform * total;  // below total, as uniform is below 1 by 2^-24 at least... or equal, rounded
  int group = 0;
  while (group < kGroups - 1 && upto[group] <= threshold) ++group;
  const int last = group * kGroup + kGroup - 1;
  int i = group * kGroup;
  float sum = (group > 0 ? upto[group - 1] : 0.0f) + probabilities[i];
  while (i < last && sum <= threshold) sum += probabilities[++i];
  return i;
}

}  // namespace
}  // namespace rtengine
