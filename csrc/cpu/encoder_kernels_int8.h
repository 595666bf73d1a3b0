// The arithmetic of the encoder's kernels in int8; see encoder_kernels_vector.h, and encoder_quantized.h for the
// numbers. Included after `Simd` and `Products` (encoder_bytes.h, encoder_words_avx2.h). The float operations are those
// of encoder_scalar.cpp, one by one.
#pragma once

#include "cpu/encoder_kernels.h"
#include "cpu/unroll.h"

namespace rtengine {
namespace {

using Element = Products::Element;
using Weight = Products::Weight;
using Vector = Products::Int;
using Operand = Products::Operand;
using Sum = Products::Int;
constexpr int kGroup = Products::kGroup;

RTENGINE_INLINE Vector load_weights(const Weight* w) { return Products::load(w); }
RTENGINE_INLINE Operand load_operand(const Element* x) { return Products::operand(x); }
RTENGINE_INLINE Sum dot(Sum sum, Operand x, Vector weights) { return Products::dot(sum, x, weights); }
RTENGINE_INLINE Sum start_of(const PackedProduct& p, int channel) { return Products::load(p.base + channel); }

// x in [low, high], NaN as low, in memory as x + kShift.
template <int kShift>
RTENGINE_INLINE void store_rounded(Element* to, Simd::Float x, float low, float high) {
  const Simd::Float bounded = Simd::min(Simd::max(x, Simd::broadcast(low)), Simd::broadcast(high));
  Products::Int rounded = Products::round(bounded);
  if constexpr (kShift != 0) rounded = Products::add(rounded, Products::broadcast(kShift));
  Products::store_elements(to, rounded);
}

RTENGINE_INLINE void store_hidden(Element* to, const PackedProduct& p, int channel, Sum sum) {
  const Simd::Float x =
      Simd::multiply_add(Products::to_float(sum), Simd::load(p.scale + channel), Simd::load(p.bias + channel));
  store_rounded<Products::kUnsignedShift>(to, x, 0.0f, 255.0f);
}

RTENGINE_INLINE Simd::Float add_to(Simd::Float y, const PackedProduct& p, int channel, Sum sum) {
  return Simd::multiply_add(Products::to_float(sum), Simd::load(p.scale + channel),
                            Simd::add(y, Simd::load(p.bias + channel)));
}

template <bool kPreActivation>
RTENGINE_INLINE void store_input(Element* to, Simd::Float y, const float* to_units, int channel) {
  const Simd::Float x = Simd::multiply(y, Simd::load(to_units + channel));
  if constexpr (kPreActivation)
    store_rounded<Products::kUnsignedShift>(to, x, 0.0f, 255.0f);
  else
    store_rounded<Products::kSignedShift>(to, x, -127.0f, 127.0f);
}

}  // namespace
}  // namespace rtengine
