// Counter-based random numbers: the number of sample t depends on (seed, t) alone, so that it is the same however the
// stream is cut. Philox4x32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
#pragma once

#include <cstdint>

#include "cpu/shared_code.h"

namespace rtengine {

// The first of the four words for a 64-bit counter (upper half of the 128-bit counter zero) under a 64-bit key.
RTENGINE_SHARED inline std::uint32_t philox(std::uint64_t key, std::uint64_t counter) noexcept {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter), c1 = static_cast<std::uint32_t>(counter >> 32), c2 = 0,
                c3 = 0;
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c0;
}

// Uniform on the multiples of 2^-24 in [0, 1).
RTENGINE_SHARED inline float uniform(std::uint64_t seed, std::uint64_t sample) noexcept {
  return static_cast<float>(philox(seed, sample) >> 8) * 0x1p-24f;
}

}  // namespace rtengine
