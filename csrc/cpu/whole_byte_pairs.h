// Products of half bytes with signed bytes, for instructions that multiply unsigned bytes with signed ones and add up
// in 32 bits (VNNI): those of the whole byte are 16 times the upper half's and the lower one's, so only the lower half
// is ever taken out of a byte.
#pragma once

namespace {

// `Int8::PairSums` (see weights_nibbles.h) of a `Int8` with unsigned_dot(), subtract() and lower_halves().
template <class Int8>
struct WholeBytePairs {
  using Int = typename Int8::Int;
  struct Halves {
    Int whole, lower;
  };

  static Halves split(Int bytes) {
#if defined(__GNUC__)
    __asm__("" : "+v"(bytes));  // in a register: GCC 12 would load it a second time as an operand of the halving
#endif
    return {bytes, Int8::lower_halves(bytes)};
  }
  void add(Int x, Halves weights) {
    whole_sums = Int8::unsigned_dot(whole_sums, weights.whole, x);
    lower_sums = Int8::unsigned_dot(lower_sums, weights.lower, x);
  }
  void fold() {}
  Int upper() const { return Int8::template shift_right<4>(Int8::subtract(whole_sums, lower_sums)); }
  Int lower() const { return lower_sums; }

  Int whole_sums = Int8::zero(), lower_sums = Int8::zero();
};

}  // namespace
