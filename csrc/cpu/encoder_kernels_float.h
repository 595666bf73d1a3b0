// The arithmetic of the encoder's kernels in float32; see encoder_kernels_vector.h. Included after `Simd`.
#pragma once

#include "cpu/encoder_kernels.h"
#include "cpu/unroll.h"

namespace rtengine {
namespace {

using Element = float;
using Weight = float;
using Vector = Simd::Float;
using Operand = Simd::Float;
using Sum = Simd::Float;
constexpr int kGroup = 1;

RTENGINE_INLINE Vector load_weights(const Weight* w) { return Simd::load(w); }
RTENGINE_INLINE Operand load_operand(const Element* x) { return Simd::broadcast(*x); }
RTENGINE_INLINE Sum dot(Sum sum, Operand x, Vector weights) { return Simd::multiply_add(weights, x, sum); }
RTENGINE_INLINE Sum start_of(const PackedProduct& p, int channel) { return Simd::load(p.bias + channel); }

RTENGINE_INLINE void store_hidden(Element* to, const PackedProduct&, int, Sum sum) {
  Simd::store(to, Simd::max(sum, Simd::zero()));
}
RTENGINE_INLINE Simd::Float add_to(Simd::Float y, const PackedProduct&, int, Sum sum) { return Simd::add(y, sum); }

template <bool kPreActivation>
RTENGINE_INLINE void store_input(Element* to, Simd::Float y, const float*, int) {
  Simd::store(to, kPreActivation ? Simd::max(y, Simd::zero()) : y);
}

}  // namespace
}  // namespace rtengine
