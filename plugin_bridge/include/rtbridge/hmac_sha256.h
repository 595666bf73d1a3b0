// HMAC-SHA256 (FIPS 180-4, RFC 2104), small enough to need no crypto library in a plugin. The key's two blocks are
// hashed once; after that a digest allocates nothing.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace rtbridge {

class Sha256 {
 public:
  void update(const uint8_t* data, size_t bytes) noexcept;
  std::array<uint8_t, 32> finish() noexcept;  // the object is spent after this

 private:
  void absorb(const uint8_t* block) noexcept;

  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> pending_{};
  size_t pending_bytes_ = 0;
  uint64_t total_bytes_ = 0;
};

class HmacSha256 {
 public:
  HmacSha256(const uint8_t* key, size_t key_bytes) noexcept;
  std::array<uint8_t, 32> digest(const uint8_t* data, size_t bytes) const noexcept;

 private:
  Sha256 inner_, outer_;  // after the key's block
};

// Takes the same time wherever the two differ.
bool equal_bytes(const uint8_t* a, const uint8_t* b, size_t bytes) noexcept;

}  // namespace rtbridge
