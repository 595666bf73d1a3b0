// The arithmetic of the encoder's kernels in int8; see encoder_kernels_vector.h, and encoder_quantized.h for the
// numbers. Included after `Simd` and `Int8`. The float operations are those of encoder_scalar.cpp, one by one.
#pragma once

#include "cpu/encoder_kernels.h"
#include "cpu/unroll.h"

namespace rtengine {
namespace {

using Element = std::uint8_t;
using Weight = std::int8_t;
using Vector = Int8::Int;
using Operand = Int8::Operand;
using Sum = Int8::Int;
constexpr int kGroup = 4;

RTENGINE_INLINE Vector load_weights(const Weight* w) { return Int8::load(w); }
RTENGINE_INLINE Operand load_operand(const Element* x) { return Int8::operand(x); }
RTENGINE_INLINE Sum dot(Sum sum, Operand x, Vector weights) { return Int8::dot(sum, x, weights); }
RTENGINE_INLINE Sum start_of(const PackedProduct& p, int channel) { return Int8::load(p.base + channel); }

// x in [low, high], NaN as low, in memory as x + kShift.
template <int kShift>
RTENGINE_INLINE void store_rounded(Element* to, Simd::Float x, float low, float high) {
  const Simd::Float bounded = Simd::min(Simd::max(x, Simd::broadcast(low)), Simd::broadcast(high));
  Int8::Int rounded = Int8::round(bounded);
  if constexpr (kShift != 0) rounded = Int8::add(rounded, Int8::broadcast(kShift));
  Int8::store_bytes(to, rounded);
}

RTENGINE_INLINE void store_hidden(Element* to, const PackedProduct& p, int channel, Sum sum) {
  const Simd::Float x =
      Simd::multiply_add(Int8::to_float(sum), Simd::load(p.scale + channel), Simd::load(p.bias + channel));
  store_rounded<Int8::kOffset - 128>(to, x, 0.0f, 255.0f);
}

RTENGINE_INLINE Simd::Float add_to(Simd::Float y, const PackedProduct& p, int channel, Sum sum) {
  return Simd::multiply_add(Int8::to_float(sum), Simd::load(p.scale + channel),
                            Simd::add(y, Simd::load(p.bias + channel)));
}

template <bool kPreActivation>
RTENGINE_INLINE void store_input(Element* to, Simd::Float y, const float* to_units, int channel) {
  const Simd::Float x = Simd::multiply(y, Simd::load(to_units + channel));
  if constexpr (kPreActivation)
    store_rounded<Int8::kOffset - 128>(to, x, 0.0f, 255.0f);
  else
    store_rounded<Int8::kOffset>(to, x, -127.0f, 127.0f);
}

}  // namespace
}  // namespace rtengine
