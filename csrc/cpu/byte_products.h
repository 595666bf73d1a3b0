// Products of int8 matrices with the inputs of several slots, over vectors of one instruction set. For translation
// units that have included their `Int8` (see kernels_integer.h); in an unnamed namespace, like everything compiled for
// one set.
#pragma once

#include "cpu/kernels_integer.h"
#include "cpu/vector_math.h"

namespace rtengine {
namespace {

using Int = Int8::Int;
constexpr int kPerUnit = kUnitRows / kWidth;  // vectors in a unit
constexpr int kVectorBytes = 4 * kWidth;      // weights that one dot() takes
constexpr int kUnitBytes = 4 * kUnitRows;

constexpr int at_most(int a, int b) { return a < b ? a : b; }
constexpr int at_least(int a, int b) { return a > b ? a : b; }

// How past taps are multiplied: as all else, unless the instruction set has its own way.
template <class Set, bool Inverts = Set::kInverts>
struct PastProducts {
  using Weights = typename Set::Int;
  using Operand = typename Set::Operand;
  static RTENGINE_INLINE Weights weights(Int bytes) { return bytes; }
  static RTENGINE_INLINE Operand operand(const std::uint8_t* bytes) { return Set::operand(bytes); }
  static RTENGINE_INLINE Int dot(Int sums, Operand x, Weights weights) { return Set::dot(sums, x, weights); }
};
template <class Set>
struct PastProducts<Set, true> : Set::PastProducts {};
using Past = PastProducts<Int8>;

// What sums of products with an input lack, and such sums with it.
template <class Set = Int8>
RTENGINE_INLINE std::int32_t lack(const std::uint8_t* bytes, int columns) {
  if constexpr (Set::kInverts) return Set::lack(bytes, columns);
  return 0;
}
template <class Set = Int8>
RTENGINE_INLINE Int completed(Int sum, std::int32_t lacking) {
  if constexpr (Set::kInverts) return Set::add(sum, Set::broadcast(lacking));
  return sum;
}

// sums [N slots, P planes, V vectors] += V vectors of rows, column group by column group. x [N][P]: bytes with kOffset.
template <int N, int P, int V>
RTENGINE_INLINE void add_dots(Int (&sums)[N][P][V], const std::int8_t* w, int group_bytes,
                              const std::uint8_t* const (&x)[N][P], int columns) {
  for (int k = 0; k < columns; k += 8) {
    unroll<2>([&](auto u) RTENGINE_LAMBDA {
      Int8::Operand operands[N][P];
      unroll<N>([&](auto n) RTENGINE_LAMBDA {
        unroll<P>([&](auto p) RTENGINE_LAMBDA {
          operands[n.value][p.value] = Int8::operand(x[n.value][p.value] + k + 4 * u.value);
        });
      });
      unroll<V>([&](auto v) RTENGINE_LAMBDA {
        const Int weights = Int8::load(w + u.value * group_bytes + v.value * kVectorBytes);
        unroll<N>([&](auto n) RTENGINE_LAMBDA {
          unroll<P>([&](auto p) RTENGINE_LAMBDA {
            Int& sum = sums[n.value][p.value][v.value];
            sum = Int8::dot(sum, operands[n.value][p.value], weights);
          });
        });
      });
    });
    w += 2 * group_bytes;
  }
}

// Calls run(first unit, units in tile, weights) for each tile of a matrix [16 units, columns] of so many bits a weight.
template <int Bits, class Run>
RTENGINE_INLINE void each_tile(const std::int8_t* matrix, int units, int columns, const Run& run) {
  for (int first = 0, tile = Int8::kTileUnits; first < units; first += tile) {
    while (tile > units - first) tile /= 2;
    run(first, tile, matrix + static_cast<std::size_t>(first) * kUnitRows * columns * Bits / 8);
  }
}

// part(Index<V>, first) for all of `count`, V at a time: as many as `Most`, then what is left in powers of two.
template <int Most, class Part>
RTENGINE_INLINE void in_parts(int count, const Part& part) {
  int first = 0;
  for (; count - first >= Most; first += Most) part(Index<Most>{}, first);
  if constexpr (Most > 4)
    if (count - first >= 4) part(Index<4>{}, first), first += 4;
  if constexpr (Most > 2)
    if (count - first >= 2) part(Index<2>{}, first), first += 2;
  if constexpr (Most > 1)
    if (count - first >= 1) part(Index<1>{}, first);
}

// One tile for N slots. start(n, vector) gives the first value of the lowest plane's sum of a vector of rows,
// finish(n, vector, sums [P]) takes the results, lowest plane first.
template <int N, int P, class Start, class Finish>
RTENGINE_INLINE void run_tile(const std::int8_t* tile, int first, int units, const std::uint8_t* const (&x)[N][P],
                              int columns, const Start& start, const Finish& finish) {
  constexpr int kVectors = at_most(Int8::kSums / (N * P) > 0 ? Int8::kSums / (N * P) : 1, 8);
  const auto part = [&](auto count, int v) RTENGINE_LAMBDA {
    constexpr int V = decltype(count)::value;
    const int row_vector = first * kPerUnit + v;
    Int sums[N][P][V];
    unroll<N>([&](auto n) RTENGINE_LAMBDA {
      unroll<V>([&](auto i) RTENGINE_LAMBDA {
        sums[n.value][0][i.value] = start(n.value, row_vector + i.value);
        unroll<P - 1>([&](auto p) RTENGINE_LAMBDA { sums[n.value][p.value + 1][i.value] = Int8::zero(); });
      });
    });
    add_dots<N, P, V>(sums, tile + v * kVectorBytes, units * kUnitBytes, x, columns);
    unroll<N>([&](auto n) RTENGINE_LAMBDA {
      unroll<V>([&](auto i) RTENGINE_LAMBDA {
        Int results[P];
        unroll<P>([&](auto p) RTENGINE_LAMBDA { results[p.value] = sums[n.value][p.value][i.value]; });
        finish(n.value, row_vector + i.value, results);
      });
    });
  };
  in_parts<kVectors>(units * kPerUnit, part);
}

// One tile for `count` slots. x(slot, plane) are their inputs.
template <int P, class Input, class Start, class Finish>
RTENGINE_INLINE void tile_product(const std::int8_t* tile, int first, int tile_units, int columns, int count,
                                  const Input& x, const Start& start, const Finish& finish) {
  in_parts<4>(count, [&](auto slots, int slot) RTENGINE_LAMBDA {
    constexpr int N = decltype(slots)::value;
    const std::uint8_t* inputs[N][P];
    unroll<N>([&](auto n) RTENGINE_LAMBDA {
      unroll<P>([&](auto p) RTENGINE_LAMBDA { inputs[n.value][p.value] = x(slot + n.value, p.value); });
    });
    run_tile<N, P>(
        tile, first, tile_units, inputs, columns, [&](int n, int v) RTENGINE_LAMBDA { return start(slot + n, v); },
        [&](int n, int v, const auto& sums) RTENGINE_LAMBDA { finish(slot + n, v, sums); });
  });
}

// A whole matrix for `count` slots: each tile for all of them before the next is read.
template <int P, class Input, class Start, class Finish>
RTENGINE_INLINE void product(const std::int8_t* matrix, int units, int columns, int count, const Input& x,
                             const Start& start, const Finish& finish) {
  each_tile<8>(matrix, units, columns, [&](int first, int tile_units, const std::int8_t* tile) RTENGINE_LAMBDA {
    tile_product<P>(tile, first, tile_units, columns, count, x, start, finish);
  });
}

}  // namespace
}  // namespace rtengine
