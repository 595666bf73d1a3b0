// The loops of hop_kernels.h, included after `Simd` (see simd_avx2.h) by one translation unit an instruction set.
#pragma once

#include "cpu/hop_kernels.h"
#include "cpu/unroll.h"

namespace rtengine {
namespace {

using Float = Simd::Float;
constexpr int kWidth = Simd::kWidth;

// Rows from `first` on, kVectors vectors of them; gives where the next tile's weights begin.
template <int kVectors>
RTENGINE_INLINE const float* tile(const HopProduct& p, const float* weights, const float* const* inputs, int first,
                                  float* y) {
  Float sums[kVectors];
  unroll<kVectors>([&](auto i) RTENGINE_LAMBDA { sums[i.value] = Simd::load(p.bias + first + i.value * kWidth); });
  for (int tap = 0; tap < p.taps; ++tap)
    for (int j = 0; j < p.columns; ++j) {
      const Float x = Simd::broadcast(inputs[tap][j]);
      unroll<kVectors>([&](auto i) RTENGINE_LAMBDA {
        sums[i.value] = Simd::multiply_add(Simd::load(weights + i.value * kWidth), x, sums[i.value]);
      });
      weights += kVectors * kWidth;
    }
  unroll<kVectors>([&](auto i) RTENGINE_LAMBDA { Simd::store(y + first + i.value * kWidth, sums[i.value]); });
  return weights;
}

void product(const HopProduct& p, const float* const* inputs, float* y) noexcept {
  const float* weights = p.weights;
  int row = 0;
  for (; row + kHopTile * kWidth <= p.rows; row += kHopTile * kWidth)
    weights = tile<kHopTile>(p, weights, inputs, row, y);
  for (; row < p.rows; row += kWidth) weights = tile<1>(p, weights, inputs, row, y);
}

void filters(const FilterTile* tiles, int count, const float* end, float* power) noexcept {
  for (int k = 0; k < count; ++k) {
    Float cosine[kFilterGroup], sine[kFilterGroup];
    unroll<kFilterGroup>([&](auto i) RTENGINE_LAMBDA { cosine[i.value] = sine[i.value] = Simd::zero(); });
    const float* weights = tiles[k].weights;
    for (const float* x = end - tiles[k].samples; x < end; x += kFilterGroup)
      unroll<kFilterGroup>([&](auto i) RTENGINE_LAMBDA {
        const Float sample = Simd::broadcast(x[i.value]);
        cosine[i.value] = Simd::multiply_add(Simd::load(weights), sample, cosine[i.value]);
        sine[i.value] = Simd::multiply_add(Simd::load(weights + kWidth), sample, sine[i.value]);
        weights += 2 * kWidth;
      });
    const Float c = Simd::add(Simd::add(cosine[0], cosine[1]), Simd::add(cosine[2], cosine[3]));
    const Float s = Simd::add(Simd::add(sine[0], sine[1]), Simd::add(sine[2], sine[3]));
    Simd::store(power + k * kWidth, Simd::multiply_add(s, s, Simd::multiply(c, c)));
  }
}

}  // namespace
}  // namespace rtengine
