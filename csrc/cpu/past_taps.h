// The past taps of the dilated convolutions, a part at each sample. For translation units that have included their
// `Int8` (see kernels_integer.h).
#pragma once

#include "cpu/byte_products.h"

namespace rtengine {
namespace {

// The part of the past taps that falls to this sample. A unit of rows has its turn every `ahead` samples, and is then
// computed for the `ahead` samples that follow: their inputs are all in the ring, the newest being at most the one that
// has just been taken. The turns are spread, so that every sample has the same work.
struct PastPart {
  PastPart(const IntegerDecoder& d, const IntegerLayer& layer, const IntegerSlot& m)
      : r(d.r),
        samples(layer.ahead),
        samples_log2(layer.ahead_log2),
        turn(static_cast<int>(m.position & static_cast<unsigned>(layer.ahead - 1))),
        next(m.position + 1),
        dilation_mask(static_cast<unsigned>(layer.dilation - 1)),
        history(m.histories + layer.history),
        weights(layer.past),
        base(layer.past_base),
        sums(m.past_sums + layer.past_sums) {}

  const std::uint8_t* input(int sample) const {  // [R], of t + 1 + sample - dilation
    return history + ((next + static_cast<unsigned>(sample)) & dilation_mask) * static_cast<unsigned>(r);
  }
  std::int32_t* sums_of(int sample) const {  // [2R], of t + 1 + sample
    return sums +
           ((next + static_cast<unsigned>(sample)) & static_cast<unsigned>(samples - 1)) * 2 * static_cast<unsigned>(r);
  }

  int r, samples, samples_log2, turn;
  std::uint64_t next;
  std::uint64_t dilation_mask;
  const std::uint8_t* history;  // [dilation, R]
  const std::int8_t* weights;   // [2R, R]
  const std::int32_t* base;     // [2R]
  std::int32_t* sums;           // [ahead, 2R]
};

// U units of rows from `unit` on for K samples from `sample` on.
template <int U, int K>
RTENGINE_INLINE void past_block(const PastPart& part, int unit, int sample) {
  constexpr int V = U * kPerUnit;
  const std::size_t unit_bytes = static_cast<std::size_t>(part.r) / 4 * kUnitBytes;
  const std::int8_t* w = part.weights + static_cast<unsigned>(unit) * unit_bytes;
  const std::uint8_t* x[K];
  unroll<K>([&](auto k) RTENGINE_LAMBDA { x[k.value] = part.input(sample + k.value); });
  Int sums[K][V];
  unroll<V>([&](auto v) RTENGINE_LAMBDA {
    const Int base = Int8::load(part.base + unit * kUnitRows + v.value * kWidth);
    unroll<K>([&](auto k) RTENGINE_LAMBDA { sums[k.value][v.value] = base; });
  });
  for (int j = 0; j < part.r; j += 4) {
    Past::Weights weights[V];
    unroll<V>([&](auto v) RTENGINE_LAMBDA {
      const std::int8_t* vector = w + (v.value / kPerUnit) * unit_bytes + (v.value % kPerUnit) * kVectorBytes;
      weights[v.value] = Past::weights(Int8::load(vector));
    });
    unroll<K>([&](auto k) RTENGINE_LAMBDA {
      const Past::Operand operand = Past::operand(x[k.value] + j);
      unroll<V>([&](auto v) RTENGINE_LAMBDA {
        sums[k.value][v.value] = Past::dot(sums[k.value][v.value], operand, weights[v.value]);
      });
    });
    w += kUnitBytes;
  }
  unroll<K>([&](auto k) RTENGINE_LAMBDA {
    unroll<V>([&](auto v) RTENGINE_LAMBDA {
      Int8::store(part.sums_of(sample + k.value) + unit * kUnitRows + v.value * kWidth, sums[k.value][v.value]);
    });
  });
}

template <int K>
RTENGINE_INLINE void past_rows(const PastPart& part) {
  constexpr int kMost = Int8::kSums / (K * kPerUnit) > 0 ? Int8::kSums / (K * kPerUnit) : 1;
  constexpr int U = at_most(kMost, 8);
  const int units = 2 * part.r / kUnitRows;
  const int first = part.turn * units >> part.samples_log2, last = (part.turn + 1) * units >> part.samples_log2;
  for (int sample = 0; sample < part.samples; sample += K) {
    int unit = first;
    for (; last - unit >= U; unit += U) past_block<U, K>(part, unit, sample);
    if constexpr (U > 1)
      for (; unit < last; ++unit) past_block<1, K>(part, unit, sample);
  }
}

void add_past(const PastPart& part) noexcept {
  constexpr int kMost = at_most(Int8::kSums / kPerUnit, 8);
  if (part.samples >= 8 && kMost >= 8)
    past_rows<at_most(8, kMost)>(part);
  else if (part.samples >= 4 && kMost >= 4)
    past_rows<at_most(4, kMost)>(part);
  else if (part.samples >= 2)
    past_rows<2>(part);
  else
    past_rows<1>(part);
}

}  // namespace
}  // namespace rtengine
