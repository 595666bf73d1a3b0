// The int8 decoder's loops over vectors of one instruction set; see kernels_int8.h for the numbers. Included by one
// translation unit a set after its `Simd`, its `Int8` and its `Weights` (weights_bytes.h or weights_nibbles.h).
// Everything is in an unnamed namespace, like kernels_vector.h.
//
// One sample of a full-size decoder reads 3 MB of weights from the third-level cache, and that is what takes the time:
// a line of 64 bytes about every 2.5 cycles (Zen 4), in which it could be multiplied with twice. So the past taps,
// which reuse their weights for up to 16 samples and hardly load anything, ride in the loops of the 1x1 products.
#pragma once

#include "cpu/past_taps.h"
#include "cpu/vector_math.h"

namespace rtengine {
namespace {

static_assert(Int8::kWidth == kWidth);

// Brings `units` units of 16 words in, ahead of their use after a long loop.
RTENGINE_INLINE void prefetch(const void* from, int units) {
  const char* line = static_cast<const char*>(from);
  for (int i = 0; i < units; ++i) RTENGINE_PREFETCH(line + i * kUnitBytes);
}

RTENGINE_INLINE Float clamp(Float x, float limit) {  // NaN becomes -limit
  return Simd::min(Simd::max(x, Simd::broadcast(-limit)), Simd::broadcast(limit));
}

// A 16-bit number as two signed bytes, 256 high + low, with the kernel's offset.
RTENGINE_INLINE void store_planes(std::uint8_t* high, std::uint8_t* low, Int x) {
  const Int offset = Int8::broadcast(Int8::kOffset);
  Int8::store_bytes(high, Int8::add(Int8::template shift_right<8>(Int8::add(x, Int8::broadcast(128))), offset));
  Int8::store_bytes(low, Int8::add(x, offset));
}

RTENGINE_INLINE std::uint8_t* current_input(const Int8Decoder& d, const Int8Layer& layer, const Int8Slot& m) {
  const std::size_t place = m.position & static_cast<unsigned>(layer.dilation - 1);
  return m.histories + layer.history + place * static_cast<unsigned>(d.r);
}

// Whether the current taps take their input as it stands in the history.
constexpr bool kSharedInput = Weights::kInputOffset == Int8::kOffset;

// One vector of a layer's input, into its place in the layer's history.
RTENGINE_INLINE void take_input(const Int8Slot& m, const float* to_units, std::uint8_t* place, int v, Float x) {
  const Float units = clamp(Simd::multiply(x, Simd::load(to_units + v * kWidth)), kGreatest8);
  const Int rounded = Int8::round(units);
  Int8::store_bytes(place + v * kWidth, Int8::add(rounded, Int8::broadcast(Int8::kOffset)));
  if constexpr (!kSharedInput) Int8::store_bytes(m.current + v * kWidth, rounded);
}

RTENGINE_INLINE LayerInput now_input(const Int8Decoder& d, const Int8Layer& layer, const Int8Slot& m) {
  return {kSharedInput ? current_input(d, layer, m) : m.current, m.sums + 2};
}

RTENGINE_INLINE LayerInput gated_input(const Int8Decoder& d, const Int8Slot& m, int layer) {
  return {m.z + (layer & 1) * d.r, m.sums + (layer & 1)};
}

// One tile of N units of the 1x1 products of one slot, and beside it as many sums of the past taps: those of U units
// from `unit` on, for N / U samples from `sample` on.
template <int N, int U, class Between, class Finish>
RTENGINE_INLINE void mix_with_past(const std::int8_t* tile, LayerInput z, const PastPart& part, int unit, int sample,
                                   const Between& between, const Finish& finish) {
  static_assert(kPerUnit == 1 || !Int8::kFused);
  constexpr int K = N / U;
  const std::size_t unit_bytes = static_cast<std::size_t>(part.r) / 4 * kUnitBytes;
  const std::int8_t* w = part.weights + static_cast<unsigned>(unit) * unit_bytes;
  const std::uint8_t* x[K];
  unroll<K>([&](auto k) RTENGINE_LAMBDA { x[k.value] = part.input(sample + k.value); });
  Weights::Tile<N> sums(tile, z);
  Int past[K][U];
  unroll<U>([&](auto u) RTENGINE_LAMBDA {
    const Int base = Int8::load(part.base + (unit + u.value) * kUnitRows);
    unroll<K>([&](auto k) RTENGINE_LAMBDA { past[k.value][u.value] = base; });
  });
  for (int quarter = 0, j = 0; quarter < 4; ++quarter) {
    for (const int end = j + part.r / 4; j < end; j += 4) {
      Int weights[U];
      unroll<U>([&](auto u) RTENGINE_LAMBDA { weights[u.value] = Int8::load(w + u.value * unit_bytes); });
      sums.add_group();
      unroll<K>([&](auto k) RTENGINE_LAMBDA {
        const Int8::Operand input = Int8::operand(x[k.value] + j);
        unroll<U>([&](auto u) RTENGINE_LAMBDA {
          past[k.value][u.value] = Int8::dot(past[k.value][u.value], input, weights[u.value]);
        });
      });
      w += kUnitBytes;
    }
    between(quarter);
  }
  unroll<K>([&](auto k) RTENGINE_LAMBDA {
    std::int32_t* row = part.sums_of(sample + k.value);
    unroll<U>([&](auto u) RTENGINE_LAMBDA { Int8::store(row + (unit + u.value) * kUnitRows, past[k.value][u.value]); });
  });
  sums.finish(finish);
}

// The same, beginning with the `first`-th of all pairs of a unit and a sample that this sample's part has.
template <int N, class Between, class Finish>
RTENGINE_INLINE void mix_with_past(const std::int8_t* tile, LayerInput z, const PastPart& part, int first,
                                   const Between& between, const Finish& finish) {
  const int pair = part.turn * (2 * part.r / kUnitRows) + first;
  const int unit = pair >> part.samples_log2, sample = pair & (part.samples - 1);
  if (part.samples >= N)
    mix_with_past<N, 1>(tile, z, part, unit, sample, between, finish);
  else if (part.samples == 4)
    mix_with_past<N, (N > 4 ? N / 4 : 1)>(tile, z, part, unit, sample, between, finish);
  else if (part.samples == 2)
    mix_with_past<N, N / 2>(tile, z, part, unit, sample, between, finish);
  else
    mix_with_past<N, N>(tile, z, part, unit, sample, between, finish);
}

// The products of one tile of 8 units of the current taps with x, and between(quarter) after each quarter of the
// columns.
template <class Between, class Finish>
RTENGINE_INLINE void now_tile(const std::int8_t* tile, LayerInput x, int columns, const Between& between,
                              const Finish& finish) {
  Weights::Tile<kTileUnits> sums(tile, x);
  for (int quarter = 0; quarter < 4; ++quarter) {
    for (int j = 0; j < columns / 4; j += 4) sums.add_group();
    between(quarter);
  }
  sums.finish(finish);
}

// Conditioning as a start of the integer sums: `columns` of latent [L, 16 units] with bias, rounded.
void begin_hop(const Int8Decoder& d, Int8Slot& m) noexcept {
  const auto conditioned = [&](const float* columns, const float* bias, int rows, int v) RTENGINE_LAMBDA {
    Float sum = Simd::load(bias + v * kWidth);
    for (int j = 0; j < d.l; ++j)
      sum = Simd::multiply_add(Simd::load(columns + j * rows + v * kWidth), Simd::broadcast(m.latent[j]), sum);
    return sum;
  };
  for (int i = 0; i < d.layer_count; ++i) {
    const Int8Layer& layer = d.layers[i];
    for (int v = 0; v < 2 * d.r / kWidth; ++v) {
      constexpr float kLimit = 536870912.0f;  // 2^29: saturates every gate, and leaves room for the rest of the sum
      const Int sum = Int8::round(clamp(conditioned(layer.latent, layer.bias, 2 * d.r, v), kLimit));
      Int8::store(m.base + i * 2 * d.r + v * kWidth, Int8::add(sum, Int8::load(layer.base + v * kWidth)));
    }
  }
  for (int v = 0; v < d.s / kWidth; ++v)
    Simd::store(m.output_conditioning + v * kWidth, conditioned(d.output_latent, d.output_bias, d.s, v));
}

// z of the channels whose gates and contents are `units` units from `first_unit` on.
RTENGINE_INLINE void gate_rows(const Int8Slot& m, int z_offset, int first_unit, int units) {
  for (int u = first_unit; u < first_unit + units; u += 2)
    for (int i = 0; i < kPerUnit; ++i) {
      const float* pair = m.gated + u * kUnitRows + i * kWidth;
      const Float z = gate(Simd::load(pair), Simd::load(pair + kUnitRows));
      const Int rounded = Int8::round(Simd::multiply(z, Simd::broadcast(static_cast<float>(kGreatest8))));
      Int8::store_bytes(m.z + z_offset + u / 2 * kUnitRows + i * kWidth,
                        Int8::add(rounded, Int8::broadcast(Weights::kInputOffset)));
    }
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
RTENGINE_INLINE void output_product(const Int8Decoder& d, const Int8Output& output, int units, Int8Slot* const* slots,
                                    int count, const Input& input, const Finish& finish) {
  float unit[8];
  constexpr float kLeast = 1e-20f;  // an input of zeros alone has a scale too
  for (int n = 0; n < count; ++n) {
    const Int8Slot& m = *slots[n];
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
  }
  product<2>(
      output.weights, units, d.s, count, [&](int n, int p) RTENGINE_LAMBDA { return slots[n]->planes + (1 - p) * d.s; },
      [&](int, int v) RTENGINE_LAMBDA { return Int8::load(output.base + v * kWidth); },
      [&](int n, int v, const auto& sums) RTENGINE_LAMBDA {
        const Float sum = Int8::to_float(Int8::add(sums[0], Int8::template shift_left<8>(sums[1])));
        const Float scale = Simd::multiply(Simd::load(output.scale + v * kWidth), Simd::broadcast(unit[n]));
        finish(*slots[n], v, sum, scale);
      });
}

void step(const Int8Decoder& d, Int8Slot* const* slots, int count, const float* older, const float* newer) noexcept {
  const int units = 2 * d.r / kUnitRows, vectors = d.r / kWidth;
  for (int n = 0; n < count; ++n) {
    const Int8Slot& m = *slots[n];
    const Float x2 = Simd::broadcast(older[n]), x1 = Simd::broadcast(newer[n]);
    const auto affine = [&](const float* a, const float* b, const float* bias, int i) RTENGINE_LAMBDA {
      const Float sum = Simd::multiply_add(Simd::load(a + i), x2, Simd::load(bias + i));
      return Simd::multiply_add(Simd::load(b + i), x1, sum);
    };
    for (int v = 0; v < vectors; ++v) {
      const Float x = affine(d.input_older, d.input_newer, d.input_bias, v * kWidth);
      Simd::store(m.x + v * kWidth, x);
      take_input(m, d.first_units, current_input(d, d.layers[0], m), v, x);
    }
    Weights::note_sum(now_input(d, d.layers[0], m).bytes, d.r, m.sums + 2);
    for (int i = 0; i < d.s; i += kWidth) Simd::store(m.skip + i, affine(d.skip_older, d.skip_newer, d.skip_bias, i));
  }

  for (int i = 0; i < d.layer_count; ++i) {
    const Int8Layer& layer = d.layers[i];
    const auto past_row = [&](const Int8Slot& m) RTENGINE_LAMBDA {
      const std::size_t place = m.position & static_cast<unsigned>(layer.ahead - 1);
      return m.past_sums + layer.past_sums + place * 2 * static_cast<unsigned>(d.r);
    };
    const MixRows rows = mix_rows(d, i);
    const auto mix_row = [&](int row) RTENGINE_LAMBDA {
      return layer.mix + static_cast<std::ptrdiff_t>(row) * d.r * Weights::kBits / 8;
    };
    const auto finish_residual = [&](const Int8Slot& m, int v, Int sum) RTENGINE_LAMBDA {
      const int row = rows.skip_before + v * kWidth;
      const Float value = Int8::to_float(Int8::add(sum, Int8::load(layer.mix_base + row)));
      const Float x = Simd::multiply_add(value, Simd::load(layer.mix_scale + row), Simd::load(m.x + v * kWidth));
      Simd::store(m.x + v * kWidth, x);
      take_input(m, layer.next_units, current_input(d, d.layers[i + 1], m), v, x);
    };
    const auto finish_skip = [&](const Int8Slot& m, int v, int offset, Int sum) RTENGINE_LAMBDA {
      const int row = offset + v * kWidth;
      const Float value = Int8::to_float(Int8::add(sum, Int8::load(layer.mix_base + row)));
      float* skip = m.skip + (row < rows.skip_before ? row : row - rows.residual);
      Simd::store(skip, Simd::multiply_add(value, Simd::load(layer.mix_scale + row), Simd::load(skip)));
    };
    const int after_residual = rows.skip_before + rows.residual;
    const auto finish_now = [&](const Int8Slot& m, int v, Int sum) RTENGINE_LAMBDA {
      const Int base = Int8::load(m.base + i * 2 * d.r + v * kWidth);
      const Int rest = Int8::add(base, Int8::load(past_row(m) + v * kWidth));
      Simd::store(m.gated + v * kWidth, Weights::preactivation(sum, rest, layer, v * kWidth));
    };
    // What ends a product is a long chain of dependent operations, so it is spread over the loop of the next product
    // that does not wait for it: gates of the first tile in the second, of the second in the first half of the skip
    // product, the next layer's input in the second half.
    if constexpr (Int8::kFused) {
      if (count == 1 && d.r == 128 && d.s == 128 && i > 0 && rows.residual > 0) {
        const Int8Slot& m = *slots[0];
        const PastPart part(d, layer, m);
        const int z_now = (i & 1) * d.r;
        const LayerInput x = now_input(d, layer, m), z = gated_input(d, m, i), z_before = gated_input(d, m, i - 1);
        std::int32_t residual[128];
        const auto nothing = [](int) RTENGINE_LAMBDA {};
        prefetch(past_row(m), 16);
        prefetch(m.base + i * 2 * d.r, 16);
        now_tile(layer.now, x, 128, nothing, [&](int v, Int sum) RTENGINE_LAMBDA { finish_now(m, v, sum); });
        now_tile(
            layer.now + 128 * 128 * Weights::kBits / 8, x, 128,
            [&](int quarter) RTENGINE_LAMBDA { gate_rows(m, z_now, 2 * quarter, 2); },
            [&](int v, Int sum) RTENGINE_LAMBDA { finish_now(m, 8 + v, sum); });
        mix_with_past<4>(
            mix_row(0), z_before, part, 8,
            [&](int quarter) RTENGINE_LAMBDA { gate_rows(m, z_now, 8 + 2 * quarter, 2); },
            [&](int v, Int sum) RTENGINE_LAMBDA { finish_skip(m, v, 0, sum); });
        Weights::note_sum(z.bytes, 128, m.sums + (i & 1));
        mix_with_past<8>(mix_row(64), z, part, 0, nothing,
                         [&](int v, Int sum) RTENGINE_LAMBDA { Int8::store(residual + v * kWidth, sum); });
        mix_with_past<4>(
            mix_row(192), z_before, part, 12,
            [&](int quarter) RTENGINE_LAMBDA {
              finish_residual(m, 2 * quarter, Int8::load(residual + 2 * quarter * kWidth));
              finish_residual(m, 2 * quarter + 1, Int8::load(residual + (2 * quarter + 1) * kWidth));
            },
            [&](int v, Int sum) RTENGINE_LAMBDA { finish_skip(m, v, 192, sum); });
        Weights::note_sum(now_input(d, d.layers[i + 1], m).bytes, 128, m.sums + 2);
        continue;
      }
    }
    const auto layer_product = [&](const std::int8_t* matrix, int row_count, const auto& input,
                                   const auto& finish) RTENGINE_LAMBDA {
      each_tile<Weights::kBits>(matrix, row_count / kUnitRows, d.r,
                                [&](int first, int tile_units, const std::int8_t* tile) RTENGINE_LAMBDA {
                                  Weights::tile_product(tile, first, tile_units, d.r, count, input, finish);
                                });
    };
    each_tile<Weights::kBits>(layer.now, units, d.r,
                              [&](int first, int tile_units, const std::int8_t* tile) RTENGINE_LAMBDA {
                                for (int n = 0; n < count; ++n) {
                                  prefetch(past_row(*slots[n]) + first * kUnitRows, tile_units);
                                  prefetch(slots[n]->base + i * 2 * d.r + first * kUnitRows, tile_units);
                                }
                                Weights::tile_product(
                                    tile, first, tile_units, d.r, count,
                                    [&](int n) RTENGINE_LAMBDA { return now_input(d, layer, *slots[n]); },
                                    [&](int n, int v, Int sum) RTENGINE_LAMBDA { finish_now(*slots[n], v, sum); });
                                for (int n = 0; n < count; ++n) gate_rows(*slots[n], (i & 1) * d.r, first, tile_units);
                              });
    for (int n = 0; n < count; ++n)
      Weights::note_sum(gated_input(d, *slots[n], i).bytes, d.r, slots[n]->sums + (i & 1));

    const auto skip_part = [&](int offset, int row_count) RTENGINE_LAMBDA {
      layer_product(
          mix_row(offset), row_count, [&](int n) RTENGINE_LAMBDA { return gated_input(d, *slots[n], i - 1); },
          [&](int n, int v, Int sum) RTENGINE_LAMBDA { finish_skip(*slots[n], v, offset, sum); });
    };
    skip_part(0, rows.skip_before);
    layer_product(
        mix_row(rows.skip_before), rows.residual, [&](int n) RTENGINE_LAMBDA { return gated_input(d, *slots[n], i); },
        [&](int n, int v, Int sum) RTENGINE_LAMBDA { finish_residual(*slots[n], v, sum); });
    skip_part(after_residual, rows.skip_after);
    for (int n = 0; n < count; ++n) {
      if (i + 1 < d.layer_count)
        Weights::note_sum(now_input(d, d.layers[i + 1], *slots[n]).bytes, d.r, slots[n]->sums + 2);
      add_past(PastPart(d, layer, *slots[n]));
    }
  }

  each_tile<Weights::kBits>(
      d.last_skip, d.s / kUnitRows, d.r, [&](int first, int tile_units, const std::int8_t* tile) RTENGINE_LAMBDA {
        Weights::tile_product(
            tile, first, tile_units, d.r, count,
            [&](int n) RTENGINE_LAMBDA { return gated_input(d, *slots[n], d.layer_count - 1); },
            [&](int n, int v, Int sum) RTENGINE_LAMBDA {
              float* skip = slots[n]->skip + v * kWidth;
              const Float value = Int8::to_float(Int8::add(sum, Int8::load(d.last_skip_base + v * kWidth)));
              Simd::store(skip,
                          Simd::multiply_add(value, Simd::load(d.last_skip_scale + v * kWidth), Simd::load(skip)));
            });
      });
  const auto relu = [&](Float x) RTENGINE_LAMBDA { return Simd::max(x, Simd::zero()); };
  for (int n = 0; n < count; ++n)
    for (int i = 0; i < d.s; i += kWidth) Simd::store(slots[n]->skip + i, relu(Simd::load(slots[n]->skip + i)));
  output_product(
      d, d.output, d.s / kUnitRows, slots, count, [&](const Int8Slot& m) RTENGINE_LAMBDA { return m.skip; },
      [&](const Int8Slot& m, int v, Float sum, Float scale) RTENGINE_LAMBDA {
        const Float conditioning = Simd::load(m.output_conditioning + v * kWidth);
        Simd::store(m.hidden + v * kWidth, relu(Simd::multiply_add(sum, scale, conditioning)));
      });
  output_product(
      d, d.logits, kClasses / kUnitRows, slots, count, [&](const Int8Slot& m) RTENGINE_LAMBDA { return m.hidden; },
      [&](const Int8Slot& m, int v, Float sum, Float scale) RTENGINE_LAMBDA {
        Simd::store(m.logits + v * kWidth, Simd::multiply_add(sum, scale, Simd::load(d.logits_bias + v * kWidth)));
      });
  for (int n = 0; n < count; ++n) ++slots[n]->position;
}

int most_probable(const Int8Slot& m) noexcept { return most_probable_class(m.logits); }

int sample(Int8Slot& m, float temperature, float uniform) noexcept {
  return sample_class(m.logits, m.probabilities, temperature, uniform);
}

}  // namespace
}  // namespace rtengine
