// The `Weights` of precision int4: the matrices of the layers in half bytes, for half of the memory traffic. A code,
// from -8 to 7, is stored plus 8; the rows of two neighbouring units share their bytes, the first in the upper halves.
// So one input serves both, and what the offset of 8 adds to every sum, 8 times the sum of the input, is taken off at
// the end. See kernels_integer.h.
//
// The trait `Int8` has for them: PairSums, two vectors of sums, cleared by construction, folded every kFoldColumns
// columns at most (where the sums of so many still fit into 16 bits); its split(bytes), the two halves of each byte in
// any form that its add() understands; byte_sum(), of signed bytes.
#pragma once

#include "cpu/byte_products.h"

namespace rtengine {
namespace {

struct Weights {
  static constexpr int kBits = 4;
  static constexpr int kInputOffset = 0;

  template <int N>
  class Tile {
   public:
    RTENGINE_INLINE Tile(const std::int8_t* tile, LayerInput x) : w_(tile), x_(x.bytes), sum_(x.sum) {}
    RTENGINE_INLINE void add_group() {
      const Int8::PairOperand operand = Int8::pair_operand(x_);
      unroll<N / 2>([&](auto n) RTENGINE_LAMBDA {
        pairs_[n.value].add(operand, Int8::PairSums::split(Int8::load(w_ + n.value * kUnitBytes)));
      });
      x_ += 4;
      w_ += N / 2 * kUnitBytes;
    }
    template <class Finish>
    RTENGINE_INLINE void finish(const Finish& finish) const {
      const Int offset = Int8::broadcast(-8 * *sum_);
      unroll<N / 2>([&](auto n) RTENGINE_LAMBDA {
        finish(2 * n.value, Int8::add(pairs_[n.value].upper(), offset));
        finish(2 * n.value + 1, Int8::add(pairs_[n.value].lower(), offset));
      });
    }

   private:
    const std::int8_t* w_;
    const std::uint8_t* x_;
    const std::int32_t* sum_;
    Int8::PairSums pairs_[N / 2];
  };

  template <class Input, class Finish>
  static RTENGINE_INLINE void tile_product(const std::int8_t* tile, int first, int tile_units, int columns, int count,
                                           const Input& x, const Finish& finish) {
    in_parts<4>(count, [&](auto slots, int slot) RTENGINE_LAMBDA {
      constexpr int N = decltype(slots)::value;
      LayerInput inputs[N];
      unroll<N>([&](auto n) RTENGINE_LAMBDA { inputs[n.value] = x(slot + n.value); });
      run_tile<N>(tile, first, tile_units, inputs, columns,
                  [&](int n, int v, Int sum) RTENGINE_LAMBDA { finish(slot + n, v, sum); });
    });
  }

  static RTENGINE_INLINE void note_sum(const std::uint8_t* bytes, int columns, std::int32_t* sum) {
    *sum = Int8::byte_sum(bytes, columns);
  }

  // The current taps have scales of their own.
  static RTENGINE_INLINE Float preactivation(Int now, Int rest, const float* scale, const float* now_scale) {
    const Float past = Simd::multiply(Int8::to_float(rest), Simd::load(scale));
    return Simd::multiply_add(Int8::to_float(now), Simd::load(now_scale), past);
  }

 private:
  template <int N, class Finish>
  static RTENGINE_INLINE void run_tile(const std::int8_t* tile, int first, int units, const LayerInput (&x)[N],
                                       int columns, const Finish& finish) {
    constexpr int kPairs = Int8::kSums / (2 * N) > 0 ? Int8::kSums / (2 * N) : 1;
    const auto part = [&](auto count, int pair) RTENGINE_LAMBDA {
      constexpr int V = decltype(count)::value;
      Int8::PairSums sums[N][V];
      const std::int8_t* w = tile + pair * kVectorBytes;
      for (int fold = 0; fold < columns; fold += Int8::kFoldColumns) {
        for (int j = fold; j < fold + Int8::kFoldColumns; j += 4) {
          Int8::PairOperand operands[N];
          unroll<N>([&](auto n) RTENGINE_LAMBDA { operands[n.value] = Int8::pair_operand(x[n.value].bytes + j); });
          unroll<V>([&](auto v) RTENGINE_LAMBDA {
            const Int8::PairSums::Halves weights = Int8::PairSums::split(Int8::load(w + v.value * kVectorBytes));
            unroll<N>([&](auto n) RTENGINE_LAMBDA { sums[n.value][v.value].add(operands[n.value], weights); });
          });
          w += units / 2 * kUnitBytes;
        }
        unroll<N>([&](auto n)
                      RTENGINE_LAMBDA { unroll<V>([&](auto v) RTENGINE_LAMBDA { sums[n.value][v.value].fold(); }); });
      }
      unroll<N>([&](auto n) RTENGINE_LAMBDA {
        const Int offset = Int8::broadcast(-8 * *x[n.value].sum);
        unroll<V>([&](auto v) RTENGINE_LAMBDA {
          const int place = pair + v.value, unit = place / kPerUnit * 2, vector = place % kPerUnit;
          const int upper = (first + unit) * kPerUnit + vector;
          finish(n.value, upper, Int8::add(sums[n.value][v.value].upper(), offset));
          finish(n.value, upper + kPerUnit, Int8::add(sums[n.value][v.value].lower(), offset));
        });
      });
    };
    in_parts<kPairs>(units / 2 * kPerUnit, part);
  }
};

}  // namespace
}  // namespace rtengine
