// bfloat16: the upper half of a float32, so that widening is a shift and rounding an addition.
#pragma once

#include <cstdint>
#include <cstring>

namespace rtengine {

struct Bf16 {
  std::uint16_t bits;
};

// To nearest, ties to even. A finite number never becomes an infinity: beyond the greatest bfloat16 it is that.
inline Bf16 to_bf16(float value) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
  const bool overflows = (rounded & 0x7F800000u) == 0x7F800000u;
  return {static_cast<std::uint16_t>(overflows ? (bits & 0x80000000u) >> 16 | 0x7F7Fu : rounded >> 16)};
}

inline float to_float(Bf16 value) noexcept {
  const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

}  // namespace rtengine
