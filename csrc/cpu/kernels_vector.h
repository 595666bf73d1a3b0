// The decoder's loops over vectors of one instruction set. Included by one translation unit a set, which defines `Simd`
// (width, load, store, broadcast, add, multiply_add, ...) first. Everything is in an unnamed namespace and no function
// of the standard library is called: an inline function compiled here must never be the one the linker keeps for all.
//
// The order of additions of every number is fixed by the shapes alone: it does not depend on how many samples are
// computed at once, so that batched and single past taps have the same bits.
#pragma once

#include "cpu/bf16.h"
#include "cpu/decoder_config.h"
#include "cpu/kernels.h"
#include "cpu/vector_math.h"

namespace rtengine {
namespace {

// Weights of vector n of a tile of N, of the even or the odd one of the two columns at `pair`.
template <int N, int Odd>
RTENGINE_INLINE Float load_weights(const float* pair, int n) {
  return Simd::load(pair + (Odd * N + n) * kWidth);
}
template <int N, int Odd>
RTENGINE_INLINE Float load_weights(const Bf16* pair, int n) {
  if constexpr (Odd) return Simd::upper_halves(pair + 2 * n * kWidth);
  return Simd::lower_halves(pair + 2 * n * kWidth);
}

// sums [N vectors] += tile [N vectors, columns] x [columns]. Fewer than 8 vectors are summed in 8 / N interleaved
// parts: a multiply-add takes four cycles and two can start in each.
template <int N, class Weight>
RTENGINE_INLINE void add_product(Float (&sums)[N], const Weight* tile, const float* x, int columns) {
  constexpr int kParts = kTileVectors / N;
  Float parts[kParts][N];
  unroll<N>([&](auto n) RTENGINE_LAMBDA { parts[0][n.value] = sums[n.value]; });
  unroll<kParts - 1>([&](auto p) RTENGINE_LAMBDA {
    unroll<N>([&](auto n) RTENGINE_LAMBDA { parts[p.value + 1][n.value] = Simd::zero(); });
  });
  for (int k = 0; k < columns; k += kColumns) {
    unroll<kColumns / 2>([&](auto j) RTENGINE_LAMBDA {
      constexpr int kEven = 2 * decltype(j)::value % kParts, kOdd = (2 * decltype(j)::value + 1) % kParts;
      const Float even = Simd::broadcast(x[k + 2 * j.value]), odd = Simd::broadcast(x[k + 2 * j.value + 1]);
      const Weight* pair = tile + 2 * j.value * N * kWidth;
      if constexpr (N < kTileVectors && Simd::kPrefetchBytes > 0) {
        unroll<2 * N * kWidth * sizeof(Weight) / 64>([&](auto line) RTENGINE_LAMBDA {
          RTENGINE_PREFETCH(reinterpret_cast<const char*>(pair) + line.value * 64 + Simd::kPrefetchBytes);
        });
      }
      unroll<N>([&](auto n) RTENGINE_LAMBDA {
        Float& a = parts[kEven][n.value];
        a = Simd::multiply_add(load_weights<N, 0>(pair, n.value), even, a);
        Float& b = parts[kOdd][n.value];
        b = Simd::multiply_add(load_weights<N, 1>(pair, n.value), odd, b);
      });
    });
    tile += kColumns * N * kWidth;
  }
  unroll<N>([&](auto n) RTENGINE_LAMBDA {
    if constexpr (kParts == 8) {
      const Float a =
          Simd::add(Simd::add(parts[0][n.value], parts[1][n.value]), Simd::add(parts[2][n.value], parts[3][n.value]));
      const Float b =
          Simd::add(Simd::add(parts[4][n.value], parts[5][n.value]), Simd::add(parts[6][n.value], parts[7][n.value]));
      sums[n.value] = Simd::add(a, b);
    } else if constexpr (kParts == 4) {
      sums[n.value] =
          Simd::add(Simd::add(parts[0][n.value], parts[1][n.value]), Simd::add(parts[2][n.value], parts[3][n.value]));
    } else if constexpr (kParts == 2) {
      sums[n.value] = Simd::add(parts[0][n.value], parts[1][n.value]);
    } else {
      sums[n.value] = parts[0][n.value];
    }
  });
}

// One tile: start(i) gives the first value of vector i, finish(first, sums) takes the results.
template <int N, class Weight, class Start, class Finish>
RTENGINE_INLINE void run_tile(int first, const Weight* tile, const float* x, int columns, const Start& start,
                              const Finish& finish) {
  Float sums[N];
  unroll<N>([&](auto n) RTENGINE_LAMBDA { sums[n.value] = start(first + n.value); });
  add_product<N>(sums, tile, x, columns);
  finish(first, sums);
}

// matrix [rows, columns] x [columns], tile by tile.
template <class Weight, class Start, class Finish>
RTENGINE_INLINE void product(const void* packed, int rows, const float* x, int columns, const Start& start,
                             const Finish& finish) {
  const auto* matrix = static_cast<const Weight*>(packed);
  const int vectors = rows / kWidth;
  const std::size_t vector = static_cast<std::size_t>(columns) * kWidth;  // weights of one vector of rows
  int i = 0;
  for (; vectors - i >= 8; i += 8) run_tile<8>(i, matrix + i * vector, x, columns, start, finish);
  if (vectors - i >= 4) {
    run_tile<4>(i, matrix + i * vector, x, columns, start, finish);
    i += 4;
  }
  if (vectors - i >= 2) {
    run_tile<2>(i, matrix + i * vector, x, columns, start, finish);
    i += 2;
  }
  if (vectors - i >= 1) run_tile<1>(i, matrix + i * vector, x, columns, start, finish);
}

template <class Weight>
RTENGINE_INLINE void store_product(float* y, const void* matrix, int rows, const float* x, int columns,
                                   const float* start) {
  product<Weight>(
      matrix, rows, x, columns, [&](int i) RTENGINE_LAMBDA { return Simd::load(start + i * kWidth); },
      [&](int first, auto& sums) RTENGINE_LAMBDA {
        unroll<sizeof(sums) / sizeof(Float)>(
            [&](auto n) RTENGINE_LAMBDA { Simd::store(y + (first + n.value) * kWidth, sums[n.value]); });
      });
}

// y [samples, rows] of one tile of N vectors, M of them and K samples at a time: a weight is loaded once for K samples.
template <int N, int M, int K, class Weight>
RTENGINE_INLINE void run_batch_tile(float* y, int y_stride, const Weight* tile, const float* x, int x_stride,
                                    int columns, int samples) {
  for (int s = 0; s < samples; s += K) {
    const float* xs[K];
    unroll<K>([&](auto k) RTENGINE_LAMBDA { xs[k.value] = x + (s + k.value) * x_stride; });
    for (int m = 0; m < N; m += M) {
      Float sums[K][M];
      unroll<K>([&](auto k) RTENGINE_LAMBDA {
        unroll<M>([&](auto i) RTENGINE_LAMBDA { sums[k.value][i.value] = Simd::zero(); });
      });
      const Weight* pair = tile;
      for (int j = 0; j < columns; j += 2) {
        unroll<2>([&](auto u) RTENGINE_LAMBDA {
          Float weights[M];
          unroll<M>([&](auto i)
                        RTENGINE_LAMBDA { weights[i.value] = load_weights<N, decltype(u)::value>(pair, m + i.value); });
          unroll<K>([&](auto k) RTENGINE_LAMBDA {
            const Float xj = Simd::broadcast(xs[k.value][j + u.value]);
            unroll<M>([&](auto i) RTENGINE_LAMBDA {
              sums[k.value][i.value] = Simd::multiply_add(weights[i.value], xj, sums[k.value][i.value]);
            });
          });
        });
        pair += 2 * N * kWidth;
      }
      unroll<K>([&](auto k) RTENGINE_LAMBDA {
        unroll<M>([&](auto i) RTENGINE_LAMBDA {
          Simd::store(y + (s + k.value) * y_stride + (m + i.value) * kWidth, sums[k.value][i.value]);
        });
      });
    }
  }
}

// y [samples, rows] = matrix [rows, columns] x [samples, columns]; rows an even number of vectors.
template <int K, class Weight>
void batch_product(float* y, const void* packed, int rows, const float* x, int columns, int samples) noexcept {
  constexpr int kMost = Simd::kBatchVectors;
  const auto* matrix = static_cast<const Weight*>(packed);
  const int vectors = rows / kWidth;
  const std::size_t vector = static_cast<std::size_t>(columns) * kWidth;
  int i = 0;
  for (; vectors - i >= 8; i += 8)
    run_batch_tile<8, kMost, K>(y + i * kWidth, rows, matrix + i * vector, x, columns, columns, samples);
  if (vectors - i >= 4) {
    run_batch_tile<4, kMost, K>(y + i * kWidth, rows, matrix + i * vector, x, columns, columns, samples);
    i += 4;
  }
  if (vectors - i >= 2)
    run_batch_tile<2, 2, K>(y + i * kWidth, rows, matrix + i * vector, x, columns, columns, samples);
}

// The past taps of the `batch` samples from the current one on, when they are due. All of them lie in the ring: the
// newest is the sample before this one at most. Call before the current input takes its place in the ring.
template <class Weight>
RTENGINE_INLINE void add_past(const PackedDecoder& d, const PackedLayer& layer, SlotMemory& m) {
  if (m.position % static_cast<unsigned>(layer.batch) != 0) return;
  float* sums = m.past_sums + layer.past_sums;
  const float* oldest = m.histories + layer.history + m.position % static_cast<unsigned>(layer.dilation) * d.r;
  if (layer.batch >= 4)
    batch_product<4, Weight>(sums, layer.past, 2 * d.r, oldest, d.r, layer.batch);
  else if (layer.batch == 2)
    batch_product<2, Weight>(sums, layer.past, 2 * d.r, oldest, d.r, 2);
  else
    batch_product<1, Weight>(sums, layer.past, 2 * d.r, oldest, d.r, 1);
}

RTENGINE_INLINE float* current_input(const PackedDecoder& d, const PackedLayer& layer, SlotMemory& m) {
  return m.histories + layer.history + m.position % static_cast<unsigned>(layer.dilation) * d.r;
}

template <class Weight>
void begin_hop(const PackedDecoder& d, SlotMemory& m) noexcept {
  for (int i = 0; i < d.layer_count; ++i)
    store_product<Weight>(m.conditioning + i * 2 * d.r, d.layers[i].latent, 2 * d.r, m.latent, d.l, d.layers[i].bias);
  store_product<Weight>(m.output_conditioning, d.output_latent, d.s, m.latent, d.l, d.output_bias);
}

constexpr float kGateScale = -1.44269504f, kContentScale = -2.88539008f;  // -log2(e), -2 log2(e): see `gate`

// The critical path of a sample is a chain: convolution, gate, residual, next layer. The skip product of the layer
// before and the past taps of the next stand between gate and residual in the code, so that the processor has them to
// do while the gate's long chain of dependent operations goes by.
template <class Weight>
void step(const PackedDecoder& d, SlotMemory& m, float older, float newer) noexcept {
  const Float x2 = Simd::broadcast(older), x1 = Simd::broadcast(newer);
  const auto affine = [&](float* y, const float* a, const float* b, const float* bias, int n) RTENGINE_LAMBDA {
    for (int i = 0; i < n; i += kWidth) {
      const Float sum = Simd::multiply_add(Simd::load(a + i), x2, Simd::load(bias + i));
      Simd::store(y + i, Simd::multiply_add(Simd::load(b + i), x1, sum));
    }
  };
  const auto add_skip = [&](int i) RTENGINE_LAMBDA {
    store_product<Weight>(m.skip, d.layers[i].skip, d.s, m.z + (i & 1) * d.r, d.r, m.skip);
  };

  add_past<Weight>(d, d.layers[0], m);
  float* x = current_input(d, d.layers[0], m);
  affine(x, d.input_older, d.input_newer, d.input_bias, d.r);
  affine(m.skip, d.skip_older, d.skip_newer, d.skip_bias, d.s);

  for (int i = 0; i < d.layer_count; ++i) {
    const PackedLayer& layer = d.layers[i];
    const float* conditioning = m.conditioning + i * 2 * d.r;
    const float* past = m.past_sums + layer.past_sums + m.position % static_cast<unsigned>(layer.batch) * 2 * d.r;
    float* z = m.z + (i & 1) * d.r;
    product<Weight>(
        layer.now, 2 * d.r, x, d.r,
        [&](int v)
            RTENGINE_LAMBDA { return Simd::add(Simd::load(conditioning + v * kWidth), Simd::load(past + v * kWidth)); },
        [&](int first, auto& sums) RTENGINE_LAMBDA {
          constexpr int kPairs = sizeof(sums) / sizeof(Float) / 2;
          unroll<kPairs>([&](auto p) RTENGINE_LAMBDA {
            const Float a = Simd::multiply(sums[2 * p.value], Simd::broadcast(kGateScale));
            const Float b = Simd::multiply(sums[2 * p.value + 1], Simd::broadcast(kContentScale));
            Simd::store(z + (first / 2 + p.value) * kWidth, gate(a, b));
          });
        });
    if (i > 0) add_skip(i - 1);
    if (i + 1 == d.layer_count) break;

    add_past<Weight>(d, d.layers[i + 1], m);
    float* next = current_input(d, d.layers[i + 1], m);
    product<Weight>(
        layer.residual, d.r, z, d.r,
        [&](int v) RTENGINE_LAMBDA {
          return Simd::add(Simd::load(x + v * kWidth), Simd::load(layer.residual_bias + v * kWidth));
        },
        [&](int first, auto& sums) RTENGINE_LAMBDA {
          unroll<sizeof(sums) / sizeof(Float)>(
              [&](auto n) RTENGINE_LAMBDA { Simd::store(next + (first + n.value) * kWidth, sums[n.value]); });
        });
    x = next;
  }
  add_skip(d.layer_count - 1);

  const auto relu = [&](float* y, int n) RTENGINE_LAMBDA {
    for (int i = 0; i < n; i += kWidth) Simd::store(y + i, Simd::max(Simd::load(y + i), Simd::zero()));
  };
  relu(m.skip, d.s);
  store_product<Weight>(m.hidden, d.output, d.s, m.skip, d.s, m.output_conditioning);
  relu(m.hidden, d.s);
  store_product<Weight>(m.logits, d.logits, kClasses, m.hidden, d.s, d.logits_bias);
  ++m.position;
}

int most_probable(const SlotMemory& m) noexcept { return most_probable_class(m.logits); }

int sample(SlotMemory& m, float temperature, float uniform) noexcept {
  return sample_class(m.logits, m.probabilities, temperature, uniform);
}

float read(const float* memory, std::size_t count) noexcept {
  Float sums[8];
  unroll<8>([&](auto n) RTENGINE_LAMBDA { sums[n.value] = Simd::zero(); });
  for (std::size_t i = 0; i + 8 * kWidth <= count; i += 8 * kWidth)
    unroll<8>([&](auto n) RTENGINE_LAMBDA {
      sums[n.value] = Simd::add(sums[n.value], Simd::load(memory + i + n.value * kWidth));
    });
  unroll<7>([&](auto n) RTENGINE_LAMBDA { sums[0] = Simd::add(sums[0], sums[n.value + 1]); });
  return Simd::sum(sums[0]);
}

template <class Weight>
constexpr VectorKernels kKernels{kWidth, sizeof(Weight), begin_hop<Weight>, step<Weight>, sample, most_probable, read};

}  // namespace
}  // namespace rtengine
