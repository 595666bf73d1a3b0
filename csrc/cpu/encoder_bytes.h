// Activations and weights of the encoder's int8 kernels as bytes, four products an operation. Included after `Int8`.
#pragma once

#include <cstdint>

#include "cpu/unroll.h"

namespace rtengine {
namespace {

struct Products : Int8 {
  using Element = std::uint8_t;
  using Weight = std::int8_t;
  static constexpr int kGroup = 4;
  static constexpr int kSignedShift = kOffset, kUnsignedShift = kOffset - 128;  // see EncoderKernels
  static void store_elements(Element* to, Int x) { store_bytes(to, x); }
};

}  // namespace
}  // namespace rtengine
