// OSC numbers are big-endian; these touch single bytes, so alignment and host order don't matter.
#pragma once
#include <cstdint>

namespace rtbridge {

inline void put_be32(uint8_t* p, uint32_t x) noexcept {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<uint8_t>(x >> (24 - 8 * i));
}
inline void put_be64(uint8_t* p, uint64_t x) noexcept {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<uint8_t>(x >> (56 - 8 * i));
}
inline uint32_t get_be32(const uint8_t* p) noexcept {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}
inline uint64_t get_be64(const uint8_t* p) noexcept { return uint64_t{get_be32(p)} << 32 | get_be32(p + 4); }

}  // namespace rtbridge
