// The `Weights` of precision int8: the matrices of the layers in bytes. See kernels_integer.h.
#pragma once

#include "cpu/byte_products.h"

namespace rtengine {
namespace {

struct Weights {
  static constexpr int kBits = 8;
  static constexpr int kInputOffset = Int8::kOffset;

  // The sums of one tile of N units with one input, group of columns by group of columns.
  template <int N>
  class Tile {
   public:
    RTENGINE_INLINE Tile(const std::int8_t* tile, LayerInput x) : w_(tile), x_(x.bytes), lacking_(x.sum) {
      unroll<N>([&](auto n) RTENGINE_LAMBDA { sums_[n.value] = Int8::zero(); });
    }
    RTENGINE_INLINE void add_group() {
      const Int8::Operand operand = Int8::operand(x_);
      unroll<N>([&](auto n) RTENGINE_LAMBDA {
        sums_[n.value] = Int8::dot(sums_[n.value], operand, Int8::load(w_ + n.value * kUnitBytes));
      });
      x_ += 4;
      w_ += N * kUnitBytes;
    }
    // finish(unit, sum)
    template <class Finish>
    RTENGINE_INLINE void finish(const Finish& finish) const {
      unroll<N>([&](auto n) RTENGINE_LAMBDA { finish(n.value, completed(sums_[n.value], *lacking_)); });
    }

   private:
    const std::int8_t* w_;
    const std::uint8_t* x_;
    const std::int32_t* lacking_;
    Int sums_[N];
  };

  // One tile for `count` slots. x(slot) are their inputs, finish(slot, vector of rows, sum).
  template <class Input, class Finish>
  static RTENGINE_INLINE void tile_product(const std::int8_t* tile, int first, int tile_units, int columns, int count,
                                           const Input& x, const Finish& finish) {
    rtengine::tile_product<1>(
        tile, first, tile_units, columns, count, [&](int n, int) RTENGINE_LAMBDA { return x(n).bytes; },
        [&](int, int) RTENGINE_LAMBDA { return Int8::zero(); },
        [&](int n, int v, const auto& sums) RTENGINE_LAMBDA { finish(n, v, completed(sums[0], *x(n).sum)); });
  }

  // These products need no sum of an input, but what they lack with it.
  static RTENGINE_INLINE void note_sum(const std::uint8_t* bytes, int columns, std::int32_t* sum) {
    if constexpr (Int8::kInverts) *sum = lack(bytes, columns);
  }

  // What a gate or content is before it: sums of both taps and conditioning, of which there is one scale.
  static RTENGINE_INLINE Float preactivation(Int now, Int rest, const float* scale, const float*) {
    return Simd::multiply(Int8::to_float(Int8::add(now, rest)), Simd::load(scale));
  }
};

}  // namespace
}  // namespace rtengine
