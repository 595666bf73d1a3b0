// What one layer does for one slot around its products: their inputs, and what becomes of their sums. For translation
// units that have included their `Simd`, `Int8` and `Weights` (see kernels_integer.h).
#pragma once

#include "cpu/kernels_integer.h"
#include "cpu/vector_math.h"

namespace rtengine {
namespace {

RTENGINE_INLINE Float clamp(Float x, float limit) {  // NaN becomes -limit
  return Simd::min(Simd::max(x, Simd::broadcast(-limit)), Simd::broadcast(limit));
}

// 2^x for x in [-60, 60], relative error below 1.1e-4: a hundredth of what rounding z to a byte does. Without the
// multiplications and the scaling of vector_math.h's, for whose units the products wait.
RTENGINE_INLINE Float coarse_exp2(Float x) {
  const Float magic = Simd::broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds, and leaves the integer in the bits
  const Float shifted = Simd::add(x, magic);
  const Float r = Simd::subtract(x, Simd::subtract(shifted, magic));
  const Float high = Simd::multiply_add(Simd::broadcast(0.05500895f), r, Simd::broadcast(0.24221101f));
  const Float p =
      Simd::multiply_add(Simd::multiply_add(high, r, Simd::broadcast(0.6932829f)), r, Simd::broadcast(1.0f));
  return Int8::from_bits(Int8::add(Int8::bits(p), Int8::template shift_left<23>(Int8::bits(shifted))));
}

// Where a layer's input goes: into its history, and for weights that take inputs without that offset beside it.
struct InputPlace {
  static constexpr bool kShared = Weights::kInputOffset == Int8::kOffset;

  InputPlace() = default;
  RTENGINE_INLINE InputPlace(const IntegerDecoder& d, int layer, const IntegerSlot& m)
      : current(m.current), sum(m.sums + kInputSum) {
    const std::size_t place = m.position & static_cast<unsigned>(d.layers[layer].dilation - 1);
    history = m.histories + d.layers[layer].history + place * static_cast<unsigned>(d.r);
  }
  RTENGINE_INLINE void take(int v, Float x, const float* to_units) const {
    const Int units = Int8::round(clamp(Simd::multiply(x, Simd::load(to_units + v * kWidth)), kGreatest8));
    Int8::store_bytes(history + v * kWidth, Int8::add(units, Int8::broadcast(Int8::kOffset)));
    if constexpr (!kShared) Int8::store_bytes(current + v * kWidth, units);
  }
  RTENGINE_INLINE void note_sum(int channels) const { Weights::note_sum(input().bytes, channels, sum); }
  RTENGINE_INLINE LayerInput input() const { return {kShared ? history : current, sum}; }

  std::uint8_t *history = nullptr, *current = nullptr;
  std::int32_t* sum = nullptr;
};

RTENGINE_INLINE LayerInput gated_input(const IntegerDecoder& d, const IntegerSlot& m, int layer) {
  return {m.z + (layer & 1) * d.r, m.sums + (layer & 1)};
}

// All pointers are its own: what is reached through another pointer has to be loaded again after every store.
class LayerStep {
 public:
  LayerStep() = default;
  RTENGINE_INLINE LayerStep(const IntegerDecoder& d, int i, const IntegerSlot& m)
      : x(InputPlace(d, i, m).input()), z(gated_input(d, m, i)), z_before(gated_input(d, m, i - 1)) {
    const IntegerLayer& layer = d.layers[i];
    channels_ = d.r;
    scale_ = layer.scale;
    now_scale_ = layer.now_scale;
    mix_scale_ = layer.mix_scale;
    mix_base_ = layer.mix_base;
    next_units_ = layer.next_units;
    base_ = m.base + i * 2 * d.r;
    past_ = m.past_sums + layer.past_sums +
            (m.position & static_cast<unsigned>(layer.ahead - 1)) * 2 * static_cast<unsigned>(d.r);
    gated_ = m.gated;
    z_ = m.z + (i & 1) * d.r;
    z_sum_ = m.sums + (i & 1);
    x_ = m.x;
    skip_ = m.skip;
    if (next_units_) next_ = InputPlace(d, i + 1, m);
  }

  // Brings in what finish_now needs, which lies outside of the stream of weights.
  RTENGINE_INLINE void prefetch(int first_unit, int units) const {
    for (int i = first_unit * kUnitRows; i < (first_unit + units) * kUnitRows; i += kUnitRows) {
      RTENGINE_PREFETCH(reinterpret_cast<const char*>(past_ + i));
      RTENGINE_PREFETCH(reinterpret_cast<const char*>(base_ + i));
    }
  }

  // v: the vector of the packed rows whose sum it is.
  RTENGINE_INLINE void finish_now(int v, Int sum) const {
    const int row = v * kWidth;
    const Int rest = Int8::add(Int8::load(base_ + row), Int8::load(past_ + row));
    Simd::store(gated_ + row, Weights::preactivation(sum, rest, scale_ + row, now_scale_ + row));
  }

  // z of the channels whose gates and contents are `units` units from `first` on, by turns.
  RTENGINE_INLINE void gate_units(int first, int units) const {
    const Float high = Simd::broadcast(60.0f), low = Simd::broadcast(-60.0f), one = Simd::broadcast(1.0f);
    for (int u = first; u < first + units; u += 2)
      for (int i = 0; i < kUnitRows; i += kWidth) {
        const float* pair = gated_ + u * kUnitRows + i;
        const Float a = coarse_exp2(Simd::max(Simd::min(Simd::load(pair), high), low));
        const Float b = coarse_exp2(Simd::max(Simd::min(Simd::load(pair + kUnitRows), high), low));
        // sigmoid times tanh as in vector_math.h, in units of z.
        const Float most = Simd::multiply(Simd::subtract(one, b), Simd::broadcast(static_cast<float>(kGreatest8)));
        const Float z = Simd::divide(most, Simd::multiply(Simd::add(one, a), Simd::add(one, b)));
        Int8::store_bytes(z_ + u / 2 * kUnitRows + i,
                          Int8::add(Int8::round(z), Int8::broadcast(Weights::kInputOffset)));
      }
  }
  RTENGINE_INLINE void note_z() const { Weights::note_sum(z_, channels_, z_sum_); }

  // v: the vector of residual channels; their rows of the mix start at `first_row`.
  RTENGINE_INLINE void finish_residual(int v, int first_row, Int sum) const {
    const Float x = mixed(first_row + v * kWidth, sum, x_ + v * kWidth);
    Simd::store(x_ + v * kWidth, x);
    next_.take(v, x, next_units_);
  }
  // The same of skip channels from `first_channel` on.
  RTENGINE_INLINE void finish_skip(int v, int first_row, int first_channel, Int sum) const {
    float* const skip = skip_ + first_channel + v * kWidth;
    Simd::store(skip, mixed(first_row + v * kWidth, sum, skip));
  }
  RTENGINE_INLINE void note_next() const {
    if (next_units_) next_.note_sum(channels_);
  }

  LayerInput x{}, z{}, z_before{};

 private:
  // `to` with a vector of rows of the mix added.
  RTENGINE_INLINE Float mixed(int row, Int sum, const float* to) const {
    const Float value = Int8::to_float(Int8::add(sum, Int8::load(mix_base_ + row)));
    return Simd::multiply_add(value, Simd::load(mix_scale_ + row), Simd::load(to));
  }

  int channels_ = 0;
  const float *scale_ = nullptr, *now_scale_ = nullptr, *mix_scale_ = nullptr, *next_units_ = nullptr;
  const std::int32_t *mix_base_ = nullptr, *base_ = nullptr, *past_ = nullptr;
  float *gated_ = nullptr, *x_ = nullptr, *skip_ = nullptr;
  std::uint8_t* z_ = nullptr;
  std::int32_t* z_sum_ = nullptr;
  InputPlace next_;
};

}  // namespace
}  // namespace rtengine
