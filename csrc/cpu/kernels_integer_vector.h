// The integer decoder's loops over vectors of one instruction set; see kernels_integer.h for the numbers. Included by
// one translation unit a set after its `Simd`, its `Int8` and its `Weights` (weights_bytes.h or weights_nibbles.h).
// Everything is in an unnamed namespace, like kernels_vector.h.
//
// One sample of a full-size decoder reads 3 MB of weights from the third-level cache, in int4 1.6 MB, and multiplies
// with them 2.6 million times. In int8 the reading takes the time: a line of 64 bytes about every 2.5 cycles (Zen 4),
// in which it could be multiplied with twice. In int4 the multiplications do. So the past taps, which reuse their
// weights for up to 16 samples and hardly load anything, ride in the loops of the other products.
#pragma once

#include "cpu/layer_step.h"
#include "cpu/past_taps.h"

namespace rtengine {
namespace {

static_assert(Int8::kWidth == kWidth);

// One tile of N units of a layer's products of one slot, and beside it sums of the past taps: those of U units from
// `unit` on, for K samples from `sample` on. between(quarter) comes after each quarter of the columns. The tile is
// finished first: the sums of the past taps may take the place of those that it needs.
template <int N, int U, int K, class Between, class Finish>
RTENGINE_INLINE void tile_beside_past(const std::int8_t* tile, LayerInput input, const PastPart& part, int unit,
                                      int sample, const Between& between, const Finish& finish) {
  static_assert(kPerUnit == 1 || !Int8::kFused);
  const std::size_t unit_bytes = static_cast<std::size_t>(part.r) / 4 * kUnitBytes;
  const std::int8_t* w = part.weights + static_cast<unsigned>(unit) * unit_bytes;
  const std::uint8_t* x[K];
  unroll<K>([&](auto k) RTENGINE_LAMBDA { x[k.value] = part.input(sample + k.value); });
  Weights::Tile<N> sums(tile, input);
  Int past[K][U];
  unroll<U>([&](auto u) RTENGINE_LAMBDA {
    const Int base = Int8::load(part.base + (unit + u.value) * kUnitRows);
    unroll<K>([&](auto k) RTENGINE_LAMBDA { past[k.value][u.value] = base; });
  });
  for (int quarter = 0, j = 0; quarter < 4; ++quarter) {
    for (const int end = j + part.r / 4; j < end; j += 4) {
      Past::Weights weights[U];
      unroll<U>([&](auto u)
                    RTENGINE_LAMBDA { weights[u.value] = Past::weights(Int8::load(w + u.value * unit_bytes)); });
      sums.add_group();
      unroll<K>([&](auto k) RTENGINE_LAMBDA {
        const Past::Operand operand = Past::operand(x[k.value] + j);
        unroll<U>([&](auto u) RTENGINE_LAMBDA {
          past[k.value][u.value] = Past::dot(past[k.value][u.value], operand, weights[u.value]);
        });
      });
      w += kUnitBytes;
    }
    between(quarter);
  }
  sums.finish(finish);
  unroll<K>([&](auto k) RTENGINE_LAMBDA {
    std::int32_t* row = part.sums_of(sample + k.value);
    unroll<U>([&](auto u) RTENGINE_LAMBDA { Int8::store(row + (unit + u.value) * kUnitRows, past[k.value][u.value]); });
  });
}

// The same with `Pairs` of all pairs of a unit and a sample that this sample's part has, from the `first` on.
template <int N, int Pairs, class Between, class Finish>
RTENGINE_INLINE void tile_beside_past(const std::int8_t* tile, LayerInput input, const PastPart& part, int first,
                                      const Between& between, const Finish& finish) {
  const int pair = part.turn * (2 * part.r / kUnitRows) + first;
  const int unit = pair >> part.samples_log2, sample = pair & (part.samples - 1);
  if (part.samples >= Pairs)
    tile_beside_past<N, 1, Pairs>(tile, input, part, unit, sample, between, finish);
  else if (part.samples == 2)
    tile_beside_past<N, at_least(Pairs / 2, 1), at_most(Pairs, 2)>(tile, input, part, unit, sample, between, finish);
  else
    tile_beside_past<N, Pairs, 1>(tile, input, part, unit, sample, between, finish);
}

// Conditioning as a start of the integer sums: `columns` of latent [L, 16 units] with bias, rounded.
void begin_hop(const IntegerDecoder& d, IntegerSlot& m) noexcept {
  const auto conditioned = [&](const float* columns, const float* bias, int rows, int v) RTENGINE_LAMBDA {
    Float sum = Simd::load(bias + v * kWidth);
    for (int j = 0; j < d.l; ++j)
      sum = Simd::multiply_add(Simd::load(columns + j * rows + v * kWidth), Simd::broadcast(m.latent[j]), sum);
    return sum;
  };
  for (int i = 0; i < d.layer_count; ++i) {
    const IntegerLayer& layer = d.layers[i];
    for (int v = 0; v < 2 * d.r / kWidth; ++v) {
      constexpr float kLimit = 536870912.0f;  // 2^29: saturates every gate, and leaves room for the rest of the sum
      const Int sum = Int8::round(clamp(conditioned(layer.latent, layer.bias, 2 * d.r, v), kLimit));
      Int8::store(m.base + i * 2 * d.r + v * kWidth, Int8::add(sum, Int8::load(layer.base + v * kWidth)));
    }
  }
  for (int v = 0; v < d.s / kWidth; ++v)
    Simd::store(m.output_conditioning + v * kWidth, conditioned(d.output_latent, d.output_bias, d.s, v));
}

// A 16-bit number as two signed bytes, 256 high + low, with the kernel's offset.
RTENGINE_INLINE void store_planes(std::uint8_t* high, std::uint8_t* low, Int x) {
  const Int offset = Int8::broadcast(Int8::kOffset);
  Int8::store_bytes(high, Int8::add(Int8::template shift_right<8>(Int8::add(x, Int8::broadcast(128))), offset));
  Int8::store_bytes(low, Int8::add(x, offset));
}

RTENGINE_INLINE float most_of(Float x) {
  float lanes[kWidth], most;
  Simd::store(lanes, x);
  most = lanes[0];
  for (int i = 1; i < kWidth; ++i) most = lanes[i] > most ? lanes[i] : most;
  return most;
}

// The two products at the end: weights of int8, an input [S] that is not negative in 16 bits of its own scale.
template <class Input, class Finish>
RTENGINE_INLINE void output_product(const IntegerDecoder& d, const IntegerOutput& output, int units,
                                    IntegerSlot* const* slots, int count, const Input& input, const Finish& finish) {
  float unit[kMostSlots];
  std::int32_t lacking[kMostSlots];
  constexpr float kLeast = 1e-20f;  // an input of zeros alone has a scale too
  for (int n = 0; n < count; ++n) {
    const IntegerSlot& m = *slots[n];
    const float* x = input(m);
    Float most = Simd::zero();
    for (int i = 0; i < d.s; i += kWidth) most = Simd::max(most, Simd::load(x + i));
    const float found = most_of(most), greatest = found > kLeast ? found : kLeast;
    unit[n] = greatest / static_cast<float>(kGreatest16);
    const Float to_units = Simd::broadcast(static_cast<float>(kGreatest16) / greatest);
    for (int i = 0; i < d.s; i += kWidth) {
      const Float scaled = clamp(Simd::multiply(Simd::load(x + i), to_units), kGreatest16);
      store_planes(m.planes + i, m.planes + d.s + i, Int8::round(scaled));
    }
    lacking[n] = 256 * lack(m.planes, d.s) + lack(m.planes + d.s, d.s);
  }
  product<2>(
      output.weights, units, d.s, count, [&](int n, int p) RTENGINE_LAMBDA { return slots[n]->planes + (1 - p) * d.s; },
      [&](int, int v) RTENGINE_LAMBDA { return Int8::load(output.base + v * kWidth); },
      [&](int n, int v, const auto& sums) RTENGINE_LAMBDA {
        const Int both = Int8::add(sums[0], Int8::template shift_left<8>(sums[1]));
        const Float sum = Int8::to_float(completed(both, lacking[n]));
        const Float scale = Simd::multiply(Simd::load(output.scale + v * kWidth), Simd::broadcast(unit[n]));
        finish(*slots[n], v, sum, scale);
      });
}

// Layer i of one slot of 128 channels with the past taps beside its products. What ends a product is a long chain of
// dependent operations, so it is spread over the loop of the next product that does not wait for it: gates of the first
// tile in the second, of the second in the first half of the skip product, the next layer's input in the second half.
RTENGINE_INLINE void fused_layer(const IntegerDecoder& d, int i, const IntegerSlot& m) {
  constexpr int kChannels = 128, kRowBytes = kChannels * Weights::kBits / 8;
  const LayerStep layer(d, i, m);
  const PastPart part(d, d.layers[i], m);
  const std::int8_t *now = d.layers[i].now, *mix = d.layers[i].mix;
  std::int32_t residual[kChannels];
  layer.prefetch(0, 16);
  Weights::Tile<8> first(now, layer.x);  // no past taps yet: they might take the place of the second tile's
  for (int j = 0; j < kChannels; j += 4) first.add_group();
  first.finish([&](int v, Int sum) RTENGINE_LAMBDA { layer.finish_now(v, sum); });
  tile_beside_past<8, 4>(
      now + 128 * kRowBytes, layer.x, part, 12, [&](int quarter) RTENGINE_LAMBDA { layer.gate_units(2 * quarter, 2); },
      [&](int v, Int sum) RTENGINE_LAMBDA { layer.finish_now(8 + v, sum); });
  tile_beside_past<4, 4>(
      mix, layer.z_before, part, 0, [&](int quarter) RTENGINE_LAMBDA { layer.gate_units(8 + 2 * quarter, 2); },
      [&](int v, Int sum) RTENGINE_LAMBDA { layer.finish_skip(v, 0, 0, sum); });
  layer.note_z();
  tile_beside_past<8, 4>(
      mix + 64 * kRowBytes, layer.z, part, 4, [](int) RTENGINE_LAMBDA {},
      [&](int v, Int sum) RTENGINE_LAMBDA { Int8::store(residual + v * kWidth, sum); });
  tile_beside_past<4, 4>(
      mix + 192 * kRowBytes, layer.z_before, part, 8,
      [&](int quarter) RTENGINE_LAMBDA {
        for (int v = 2 * quarter; v < 2 * quarter + 2; ++v)
          layer.finish_residual(v, 64, Int8::load(residual + v * kWidth));
      },
      [&](int v, Int sum) RTENGINE_LAMBDA { layer.finish_skip(v, 192, 64, sum); });
  layer.note_next();
}

// A matrix of the layers for `count` slots: each tile for all of them before the next is read.
template <class Input, class Finish>
RTENGINE_INLINE void layer_product(const IntegerDecoder& d, const std::int8_t* matrix, int rows, int count,
                                   const Input& input, const Finish& finish) {
  each_tile<Weights::kBits>(matrix, rows / kUnitRows, d.r,
                            [&](int first, int units, const std::int8_t* tile) RTENGINE_LAMBDA {
                              Weights::tile_product(tile, first, units, d.r, count, input, finish);
                            });
}

// Layer i of any number of slots and channels.
RTENGINE_INLINE void plain_layer(const IntegerDecoder& d, int i, IntegerSlot* const* slots, int count) {
  LayerStep steps[kMostSlots];
  for (int n = 0; n < count; ++n) steps[n] = LayerStep(d, i, *slots[n]);
  const IntegerLayer& layer = d.layers[i];
  const MixRows rows = mix_rows(d, i);
  each_tile<Weights::kBits>(layer.now, 2 * d.r / kUnitRows, d.r,
                            [&](int first, int units, const std::int8_t* tile) RTENGINE_LAMBDA {
                              for (int n = 0; n < count; ++n) steps[n].prefetch(first, units);
                              Weights::tile_product(
                                  tile, first, units, d.r, count, [&](int n) RTENGINE_LAMBDA { return steps[n].x; },
                                  [&](int n, int v, Int sum) RTENGINE_LAMBDA { steps[n].finish_now(v, sum); });
                              for (int n = 0; n < count; ++n) steps[n].gate_units(first, units);
                            });
  for (int n = 0; n < count; ++n) steps[n].note_z();

  const auto mix_row = [&](int row) RTENGINE_LAMBDA {
    return layer.mix + static_cast<std::ptrdiff_t>(row) * d.r * Weights::kBits / 8;
  };
  const auto skip_part = [&](int row, int channel, int row_count) RTENGINE_LAMBDA {
    layer_product(
        d, mix_row(row), row_count, count, [&](int n) RTENGINE_LAMBDA { return steps[n].z_before; },
        [&](int n, int v, Int sum) RTENGINE_LAMBDA { steps[n].finish_skip(v, row, channel, sum); });
  };
  skip_part(0, 0, rows.skip_before);
  layer_product(
      d, mix_row(rows.skip_before), rows.residual, count, [&](int n) RTENGINE_LAMBDA { return steps[n].z; },
      [&](int n, int v, Int sum) RTENGINE_LAMBDA { steps[n].finish_residual(v, rows.skip_before, sum); });
  skip_part(rows.skip_before + rows.residual, rows.skip_before, rows.skip_after);
  for (int n = 0; n < count; ++n) {
    steps[n].note_next();
    add_past(PastPart(d, layer, *slots[n]));
  }
}

// The network's input convolution: the first layer's input, and what the skip sum starts from.
RTENGINE_INLINE void take_sample(const IntegerDecoder& d, const IntegerSlot& m, float older, float newer) {
  const Float x2 = Simd::broadcast(older), x1 = Simd::broadcast(newer);
  const auto affine = [&](const float* a, const float* b, const float* bias, int i) RTENGINE_LAMBDA {
    const Float sum = Simd::multiply_add(Simd::load(a + i), x2, Simd::load(bias + i));
    return Simd::multiply_add(Simd::load(b + i), x1, sum);
  };
  const InputPlace place(d, 0, m);
  for (int v = 0; v < d.r / kWidth; ++v) {
    const Float x = affine(d.input_older, d.input_newer, d.input_bias, v * kWidth);
    Simd::store(m.x + v * kWidth, x);
    place.take(v, x, d.first_units);
  }
  place.note_sum(d.r);
  for (int i = 0; i < d.s; i += kWidth) Simd::store(m.skip + i, affine(d.skip_older, d.skip_newer, d.skip_bias, i));
}

void step(const IntegerDecoder& d, IntegerSlot* const* slots, int count, const float* older,
          const float* newer) noexcept {
  for (int n = 0; n < count; ++n) take_sample(d, *slots[n], older[n], newer[n]);
  const bool fused = Int8::kFused && count == 1 && d.r == 128 && d.s == 128;
  for (int i = 0; i < d.layer_count; ++i) {
    if constexpr (Int8::kFused)
      if (fused && i > 0 && i + 1 < d.layer_count) {
        fused_layer(d, i, *slots[0]);
        continue;
      }
    plain_layer(d, i, slots, count);
  }

  layer_product(
      d, d.last_skip, d.s, count, [&](int n) RTENGINE_LAMBDA { return gated_input(d, *slots[n], d.layer_count - 1); },
      [&](int n, int v, Int sum) RTENGINE_LAMBDA {
        float* skip = slots[n]->skip + v * kWidth;
        const Float value = Int8::to_float(Int8::add(sum, Int8::load(d.last_skip_base + v * kWidth)));
        Simd::store(skip, Simd::multiply_add(value, Simd::load(d.last_skip_scale + v * kWidth), Simd::load(skip)));
      });
  const auto relu = [&](Float x) RTENGINE_LAMBDA { return Simd::max(x, Simd::zero()); };
  for (int n = 0; n < count; ++n)
    for (int i = 0; i < d.s; i += kWidth) Simd::store(slots[n]->skip + i, relu(Simd::load(slots[n]->skip + i)));
  output_product(
      d, d.output, d.s / kUnitRows, slots, count, [&](const IntegerSlot& m) RTENGINE_LAMBDA { return m.skip; },
      [&](const IntegerSlot& m, int v, Float sum, Float scale) RTENGINE_LAMBDA {
        const Float conditioning = Simd::load(m.output_conditioning + v * kWidth);
        Simd::store(m.hidden + v * kWidth, relu(Simd::multiply_add(sum, scale, conditioning)));
      });
  output_product(
      d, d.logits, kClasses / kUnitRows, slots, count, [&](const IntegerSlot& m) RTENGINE_LAMBDA { return m.hidden; },
      [&](const IntegerSlot& m, int v, Float sum, Float scale) RTENGINE_LAMBDA {
        Simd::store(m.logits + v * kWidth, Simd::multiply_add(sum, scale, Simd::load(d.logits_bias + v * kWidth)));
      });
  for (int n = 0; n < count; ++n) ++slots[n]->position;
}

int most_probable(const IntegerSlot& m) noexcept { return most_probable_class(m.logits); }

int sample(IntegerSlot& m, float temperature, float uniform) noexcept {
  return sample_class(m.logits, m.probabilities, temperature, uniform);
}

}  // namespace
}  // namespace rtengine
