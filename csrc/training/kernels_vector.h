// `Kernels` over the vectors of one instruction set. Included by one translation unit a set after its `Simd`.
// Everything is in an unnamed namespace, as in cpu/kernels_vector.h.
#pragma once

#include "cpu/vector_math.h"
#include "training/kernels.h"

namespace rttraining {
namespace {

using rtengine::exp2;
using rtengine::Float;
using rtengine::Index;
using rtengine::kWidth;
using rtengine::unroll;

constexpr float kLog2E = 1.44269504f;
constexpr int kClasses = rtengine::kClasses;
constexpr int kSums = kWidth >= 16 ? 24 : 12;  // registers that hold sums: of 32 in AVX-512, of 16 in AVX2

// I rows by V vectors of c, held in registers.
template <int I, int V>
RTENGINE_INLINE void block(float* c, std::ptrdiff_t c_step, Factor a, int depth, const float* b,
                           std::ptrdiff_t b_step) {
  Float sums[I][V];
  unroll<I>([&](auto i) RTENGINE_LAMBDA {
    unroll<V>([&](auto v)
                  RTENGINE_LAMBDA { sums[i.value][v.value] = Simd::load(c + i.value * c_step + v.value * kWidth); });
  });
  for (int j = 0; j < depth; ++j) {
    Float row[V];
    unroll<V>([&](auto v) RTENGINE_LAMBDA { row[v.value] = Simd::load(b + v.value * kWidth); });
    unroll<I>([&](auto i) RTENGINE_LAMBDA {
      const Float factor = Simd::broadcast(a.data[i.value * a.row_step]);
      unroll<V>([&](auto v) RTENGINE_LAMBDA {
        sums[i.value][v.value] = Simd::multiply_add(factor, row[v.value], sums[i.value][v.value]);
      });
    });
    a.data += a.depth_step;
    b += b_step;
  }
  unroll<I>([&](auto i) RTENGINE_LAMBDA {
    unroll<V>([&](auto v)
                  RTENGINE_LAMBDA { Simd::store(c + i.value * c_step + v.value * kWidth, sums[i.value][v.value]); });
  });
}

template <int V>
void strip(float* c, std::ptrdiff_t c_step, int rows, Factor a, int depth, const float* b, std::ptrdiff_t b_step) {
  constexpr int kMost = kSums / V < 8 ? kSums / V : 8;
  const auto rows_from = [&](auto count, int i) RTENGINE_LAMBDA {
    block<decltype(count)::value, V>(c + i * c_step, c_step, {a.data + i * a.row_step, a.row_step, a.depth_step}, depth,
                                     b, b_step);
  };
  int i = 0;
  for (; rows - i >= kMost; i += kMost) rows_from(Index<kMost>{}, i);
  for (; rows - i >= 2; i += 2) rows_from(Index<2>{}, i);
  if (i < rows) rows_from(Index<1>{}, i);
}

void accumulate(float* c, std::ptrdiff_t c_step, int rows, int columns, Factor a, int depth, const float* b,
                std::ptrdiff_t b_step) {
  const auto strip_of = [&](auto vectors, int at) RTENGINE_LAMBDA {
    strip<decltype(vectors)::value>(c + at, c_step, rows, a, depth, b + at, b_step);
  };
  int at = 0;
  if constexpr (kSums >= 24) {  // 3 vectors by 8 rows read least for what they do, 4 by 6 nearly as little
    while (columns - at >= 3 * kWidth && (columns - at) % (4 * kWidth) != 0) strip_of(Index<3>{}, at), at += 3 * kWidth;
    for (; columns - at >= 4 * kWidth; at += 4 * kWidth) strip_of(Index<4>{}, at);
  }
  for (; columns - at >= 2 * kWidth; at += 2 * kWidth) strip_of(Index<2>{}, at);
  if (at < columns) strip_of(Index<1>{}, at);
}

// 2^x for any x: it saturates at 2 to the power of `most`, and of -most.
RTENGINE_INLINE Float bounded_exp2(Float x, float most = 126.0f) {
  return exp2(Simd::max(Simd::min(x, Simd::broadcast(most)), Simd::broadcast(-most)));
}

void gate(const float* preactivation, int rows, int r, float* gates, float* contents, float* z) {
  constexpr float kMost = 60.0f;  // a product of two such powers is a float still
  const Float one = Simd::broadcast(1.0f);
  for (int n = 0; n < rows; ++n)
    for (int i = 0; i < r; i += kWidth) {
      const float* at = preactivation + static_cast<std::ptrdiff_t>(n) * 2 * r + i;
      const Float u = bounded_exp2(Simd::multiply(Simd::load(at), Simd::broadcast(-kLog2E)), kMost);
      const Float v = bounded_exp2(Simd::multiply(Simd::load(at + r), Simd::broadcast(-2.0f * kLog2E)), kMost);
      const Float above_u = Simd::add(one, u), above_v = Simd::add(one, v);
      const Float inverse = Simd::divide(one, Simd::multiply(above_u, above_v));  // one division for both
      const Float sigmoid = Simd::multiply(inverse, above_v);
      const Float tangent = Simd::multiply(Simd::multiply(inverse, above_u), Simd::subtract(one, v));
      const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(n) * r + i;
      Simd::store(gates + place, sigmoid);
      Simd::store(contents + place, tangent);
      Simd::store(z + place, Simd::multiply(sigmoid, tangent));
    }
}

void gate_gradient(const float* dz, const float* gates, const float* contents, int rows, int r, float* dpreactivation,
                   float* z) {
  const Float one = Simd::broadcast(1.0f);
  for (int n = 0; n < rows; ++n)
    for (int i = 0; i < r; i += kWidth) {
      const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(n) * r + i;
      const Float g = Simd::load(gates + place), t = Simd::load(contents + place);
      const Float through_g = Simd::multiply(Simd::load(dz + place), g);
      float* to = dpreactivation + static_cast<std::ptrdiff_t>(n) * 2 * r + i;
      Simd::store(to, Simd::multiply(Simd::multiply(through_g, t), Simd::subtract(one, g)));
      Simd::store(to + r, Simd::multiply(through_g, Simd::subtract(one, Simd::multiply(t, t))));
      Simd::store(z + place, Simd::multiply(g, t));
    }
}

void relu(const float* from, int count, float* to) {
  for (int i = 0; i < count; i += kWidth) Simd::store(to + i, Simd::max(Simd::load(from + i), Simd::zero()));
}

void relu_gradient(const float* from, const float* through, int count, float* to) {
  for (int i = 0; i < count; ++i) to[i] = through[i] > 0.0f ? from[i] : 0.0f;
}

void add_to_rows(const float* from, const float* bias, int rows, int columns, float* to) {
  for (int n = 0; n < rows; ++n, from += columns, to += columns)
    for (int i = 0; i < columns; i += kWidth)
      Simd::store(to + i, Simd::add(Simd::load(from + i), Simd::load(bias + i)));
}

void add_rows(const float* rows_of, int rows, int columns, float* sum) {
  for (int i = 0; i < columns; i += kWidth) {
    Float total = Simd::load(sum + i);
    for (int n = 0; n < rows; ++n)
      total = Simd::add(total, Simd::load(rows_of + static_cast<std::ptrdiff_t>(n) * columns + i));
    Simd::store(sum + i, total);
  }
}

// One row of logits becomes probabilities; gives the logarithm of what they were divided by.
RTENGINE_INLINE float softmax(float* logits) {
  const float most = rtengine::greatest(logits);
  const Float top = Simd::broadcast(most);
  Float sums = Simd::zero();
  for (int i = 0; i < kClasses; i += kWidth) {
    const Float above = Simd::multiply(Simd::subtract(Simd::load(logits + i), top), Simd::broadcast(kLog2E));
    const Float p = bounded_exp2(above);
    Simd::store(logits + i, p);
    sums = Simd::add(sums, p);
  }
  const float sum = Simd::sum(sums);
  const Float scale = Simd::broadcast(1.0f / sum);
  for (int i = 0; i < kClasses; i += kWidth) Simd::store(logits + i, Simd::multiply(Simd::load(logits + i), scale));
  return most + __builtin_logf(sum);
}

void cross_entropy(float* logits, const std::uint8_t* codes, int rows, float* losses) {
  for (int n = 0; n < rows; ++n, logits += kClasses) {
    const float chosen = logits[codes[n]];
    losses[n] = softmax(logits) - chosen;
    logits[codes[n]] -= 1.0f;
  }
}

void cross_entropy_soft(float* logits, const float* wanted, int rows, float* losses) {
  for (int n = 0; n < rows; ++n, logits += kClasses, wanted += kClasses) {
    const float top = rtengine::greatest(logits);
    const Float most = Simd::broadcast(top);
    Float below = Simd::zero();  // sum of how far each logit is below the greatest, by how much it is wanted
    for (int i = 0; i < kClasses; i += kWidth)
      below = Simd::multiply_add(Simd::load(wanted + i), Simd::subtract(most, Simd::load(logits + i)), below);
    losses[n] = softmax(logits) - top + Simd::sum(below);
    for (int i = 0; i < kClasses; i += kWidth)
      Simd::store(logits + i, Simd::subtract(Simd::load(logits + i), Simd::load(wanted + i)));
  }
}

void draw(const float* logits, const float* uniform, int rows, std::uint8_t* codes) {
  float probabilities[kClasses];
  for (int n = 0; n < rows; ++n)
    codes[n] = static_cast<std::uint8_t>(
        rtengine::sample_class(logits + static_cast<std::ptrdiff_t>(n) * kClasses, probabilities, 1.0f, uniform[n]));
}

void scale_rows(float* values, const float* weights, int rows, int columns) {
  for (int n = 0; n < rows; ++n, values += columns) {
    const Float weight = Simd::broadcast(weights[n]);
    for (int i = 0; i < columns; i += kWidth) Simd::store(values + i, Simd::multiply(Simd::load(values + i), weight));
  }
}

constexpr Kernels kernels_with(decltype(Kernels::accumulate) products) {
  return {kWidth,      products, gate,          gate_gradient,      relu, relu_gradient,
          add_to_rows, add_rows, cross_entropy, cross_entropy_soft, draw, scale_rows};
}

}  // namespace
}  // namespace rttraining
