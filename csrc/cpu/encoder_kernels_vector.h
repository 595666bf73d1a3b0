// The encoder's loops over vectors of one instruction set. Included by one translation unit a set, after `Simd` (see
// simd_avx2.h) and an arithmetic (encoder_kernels_float.h, encoder_kernels_int8.h). Everything is in an unnamed
// namespace and no function of the standard library is called: an inline function compiled here must never be the one
// the linker keeps for all.
//
// A layer is a product of a matrix with every sample's inputs. A weight that is loaded serves several samples and an
// input several vectors of rows: N x K sums stay in registers over the whole length of a row. The order of additions of
// every number is fixed by the shapes alone.
#pragma once

#include "cpu/encoder_kernels.h"
#include "cpu/unroll.h"

namespace rtengine {
namespace {

using Float = Simd::Float;
constexpr int kWidth = Simd::kWidth;
constexpr int kStripSamples = 96;  // samples between the two products of a layer: their hidden rows stay in the cache

// sums [K samples][N vectors] of one tile; rows(k, tap) is where the inputs of sample k for that tap are.
template <int N, int K, class Rows>
RTENGINE_INLINE void add_product(Sum (&sums)[K][N], const Weight* tile, int taps, int columns, const Rows& rows) {
  for (int tap = 0; tap < taps; ++tap) {
    const Element* x[K];
    unroll<K>([&](auto k) RTENGINE_LAMBDA { x[k.value] = rows(k.value, tap); });
    for (int j = 0; j < columns; j += kGroup) {
      if constexpr (N <= K) {
        Vector weights[N];
        unroll<N>([&](auto n) RTENGINE_LAMBDA { weights[n.value] = load_weights(tile + n.value * kWidth * kGroup); });
        unroll<K>([&](auto k) RTENGINE_LAMBDA {
          const Operand operand = load_operand(x[k.value] + j);
          unroll<N>([&](auto n) RTENGINE_LAMBDA {
            sums[k.value][n.value] = dot(sums[k.value][n.value], operand, weights[n.value]);
          });
        });
      } else {
        Operand operands[K];
        unroll<K>([&](auto k) RTENGINE_LAMBDA { operands[k.value] = load_operand(x[k.value] + j); });
        unroll<N>([&](auto n) RTENGINE_LAMBDA {
          const Vector weights = load_weights(tile + n.value * kWidth * kGroup);
          unroll<K>([&](auto k) RTENGINE_LAMBDA {
            sums[k.value][n.value] = dot(sums[k.value][n.value], operands[k.value], weights);
          });
        });
      }
      tile += N * kWidth * kGroup;
    }
  }
}

// finish(sample, channel, sum) for every vector of a tile and the samples from `first` to `last`.
template <int N, int K, class Rows, class Finish>
RTENGINE_INLINE void run_samples(const PackedProduct& p, const Weight* tile, int channel, int columns, int& first,
                                 int last, const Rows& rows, const Finish& finish) {
  for (; last - first >= K; first += K) {
    Sum sums[K][N];
    unroll<N>([&](auto n) RTENGINE_LAMBDA {
      const Sum start = start_of(p, channel + n.value * kWidth);
      unroll<K>([&](auto k) RTENGINE_LAMBDA { sums[k.value][n.value] = start; });
    });
    add_product<N, K>(sums, tile, p.taps, columns,
                      [&](int k, int tap) RTENGINE_LAMBDA { return rows(first + k, tap); });
    unroll<N>([&](auto n) RTENGINE_LAMBDA {
      unroll<K>([&](auto k)
                    RTENGINE_LAMBDA { finish(first + k.value, channel + n.value * kWidth, sums[k.value][n.value]); });
    });
  }
}

template <int N, class Rows, class Finish>
RTENGINE_INLINE void run_tile(const PackedProduct& p, const Weight* tile, int channel, int columns, int first, int last,
                              const Rows& rows, const Finish& finish) {
  run_samples<N, kSamples>(p, tile, channel, columns, first, last, rows, finish);
  if constexpr (kSamples > 4) run_samples<N, 4>(p, tile, channel, columns, first, last, rows, finish);
  if constexpr (kSamples > 2) run_samples<N, 2>(p, tile, channel, columns, first, last, rows, finish);
  run_samples<N, 1>(p, tile, channel, columns, first, last, rows, finish);
}

template <class Rows, class Finish>
RTENGINE_INLINE void product(const PackedProduct& p, int c, int first, int last, const Rows& rows,
                             const Finish& finish) {
  const Weight* tile = static_cast<const Weight*>(p.weights);
  const std::size_t vector = static_cast<std::size_t>(p.taps) * static_cast<unsigned>(c) * kWidth;  // weights of one
  int left = c / kWidth, channel = 0;
  for (; left >= kTile; left -= kTile, channel += kTile * kWidth, tile += kTile * vector)
    run_tile<kTile>(p, tile, channel, c, first, last, rows, finish);
  unroll<kTile - 1>([&](auto n) RTENGINE_LAMBDA {
    constexpr int kRest = decltype(n)::value + 1;
    if (left == kRest) run_tile<kRest>(p, tile, channel, c, first, last, rows, finish);
  });
}

// Rows of a ring from a sample `before` the hop on, sample by sample and cheaply: one comparison instead of a division.
template <class T>
struct RingRows {
  RTENGINE_INLINE RingRows(T* memory, const EncoderRing& ring, std::int64_t row, int c)
      : base(memory + ring.offset), rows(ring.rows), now(static_cast<int>(row % ring.rows)), c(c) {}
  RTENGINE_INLINE T* at(int sample, int before) const {
    int place = now + sample - before;
    if (place < 0) place += rows;
    return base + static_cast<std::ptrdiff_t>(place) * c;
  }
  T* base;
  int rows, now, c;
};

// A vector of the stream into the rings that the next layer reads.
template <bool kPreActivation>
struct Emit {
  RTENGINE_INLINE Emit(const PackedEncoder& e, const PackedEncoderLayer& next, EncoderMemory& m, bool last)
      : stream(m.streams, next.stream, m.row, e.c),
        inputs(static_cast<Element*>(m.inputs), next.inputs, m.row, e.c, last),
        to_units(next.to_units),
        last(last) {}
  RTENGINE_INLINE void operator()(int sample, int channel, Float y) const {
    Simd::store(stream.at(sample, 0) + channel, y);
    if (!last) store_input<kPreActivation>(inputs.at(sample, 0) + channel, y, to_units, channel);
  }

  struct Inputs : RingRows<Element> {
    RTENGINE_INLINE Inputs(Element* memory, const EncoderRing& ring, std::int64_t row, int c, bool none)
        : RingRows<Element>(memory, none ? EncoderRing{0, 1} : ring, row, c) {}
  };
  RingRows<float> stream;
  Inputs inputs;
  const float* to_units;
  bool last;
};

template <bool kPreActivation>
RTENGINE_INLINE void run_layer(const PackedEncoder& e, int index, EncoderMemory& m) {
  const PackedEncoderLayer& layer = e.layers[index];
  const int c = e.c, taps = e.taps, dilation = layer.dilation, ahead = layer.ahead;
  const Emit<kPreActivation> emit(e, e.layers[index + 1], m, index + 1 == e.layer_count);
  const RingRows<float> stream(m.streams, layer.stream, m.row, c);
  const RingRows<const Element> inputs(static_cast<const Element*>(m.inputs), layer.inputs, m.row, c);
  Element* hidden = static_cast<Element*>(m.hidden);
  const auto past = [&](int sample, int tap) RTENGINE_LAMBDA { return inputs.at(sample, (taps - 1 - tap) * dilation); };
  const auto hidden_row = [&](int sample, int) RTENGINE_LAMBDA -> const Element* { return hidden + sample * c; };
  for (int first = 0; first < e.hop; first += kStripSamples) {
    const int last = e.hop - first < kStripSamples ? e.hop : first + kStripSamples;
    const auto add = [&](const PackedProduct& p) {
      return [&](int sample, int channel, Sum sum) RTENGINE_LAMBDA {
        const Float before = Simd::load(stream.at(sample, ahead) + channel);
        emit(sample, channel, add_to(before, p, channel, sum));
      };
    };
    if constexpr (kPreActivation) {
      product(layer.convolution, c, first, last, past, add(layer.convolution));
    } else {
      product(layer.convolution, c, first, last, past, [&](int sample, int channel, Sum sum) RTENGINE_LAMBDA {
        store_hidden(hidden + sample * c + channel, layer.convolution, channel, sum);
      });
      product(layer.mix, c, first, last, hidden_row, add(layer.mix));
    }
  }
}

template <bool kPreActivation>
RTENGINE_INLINE void run_input(const PackedEncoder& e, EncoderMemory& m) {
  const Emit<kPreActivation> emit(e, e.layers[0], m, false);
  for (int t = 0; t < e.hop; ++t)
    for (int channel = 0; channel < e.c; channel += kWidth) {
      Float y = Simd::load(e.input_bias + channel);
      for (int j = 0; j < e.taps; ++j)
        y = Simd::multiply_add(Simd::load(e.input + j * e.c + channel), Simd::broadcast(m.samples[t + j]), y);
      emit(t, channel, y);
    }
}

void input(const PackedEncoder& e, EncoderMemory& m) noexcept {
  e.pre_activation ? run_input<true>(e, m) : run_input<false>(e, m);
}

void layer(const PackedEncoder& e, int index, EncoderMemory& m) noexcept {
  e.pre_activation ? run_layer<true>(e, index, m) : run_layer<false>(e, index, m);
}

// The mean over the hop comes before the projection to the latent: both are linear, and so it is one row.
void project(const PackedEncoder& e, EncoderMemory& m) noexcept {
  const RingRows<const float> stream(m.streams, e.layers[e.layer_count].stream, m.row, e.c);
  const Float share = Simd::broadcast(1.0f / static_cast<float>(e.hop));
  for (int channel = 0; channel < e.c; channel += kWidth) {
    Float sum = Simd::zero();
    for (int t = 0; t < e.hop; ++t) sum = Simd::add(sum, Simd::load(stream.at(t, e.pending) + channel));
    Simd::store(m.mean + channel, Simd::multiply(sum, share));
  }
  for (int channel = 0; channel < e.l; channel += kWidth) {
    Float sum = Simd::load(e.latent_bias + channel);
    for (int j = 0; j < e.c; ++j)
      sum = Simd::multiply_add(Simd::load(e.latent + j * e.l + channel), Simd::broadcast(m.mean[j]), sum);
    Simd::store(m.latent + channel, sum);
  }
}

}  // namespace
}  // namespace rtengine
