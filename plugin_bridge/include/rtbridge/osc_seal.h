// Seals on audio datagrams: the C++ twin of rtserver/osc/seal.py. A sealed message ends with `h` nonce (Unix time in
// microseconds, strictly increasing for a sender) and `b`, the first 16 bytes of HMAC-SHA256 over all bytes before
// them.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "rtbridge/hmac_sha256.h"
#include "rtbridge/osc_audio.h"

namespace rtbridge {

constexpr size_t kMacBytes = 16;
constexpr size_t kSealBytes = 8 + 4 + kMacBytes;  // nonce, size of the blob, blob
constexpr int64_t kStaleUs = 60'000'000;

int64_t unix_time_us() noexcept;

// [one sending thread] Rising nonces, whatever the clock does.
class NonceSource {
 public:
  int64_t next(int64_t now_us) noexcept { return last_ = now_us > last_ ? now_us : last_ + 1; }

 private:
  int64_t last_ = 0;
};

// Writes nonce, size and seal behind `bytes` bytes of an open message (whose type tags already end with "hb").
void put_seal(const HmacSha256& key, int64_t nonce, uint8_t* message, size_t bytes) noexcept;
// Whether the last kSealBytes of the message are its seal; gives the nonce.
bool seal_fits(const HmacSha256& key, const uint8_t* message, size_t bytes, int64_t& nonce) noexcept;

enum class Freshness : uint8_t { kFresh, kStale, kReplayed };

// [one receiving thread] What one sender's authentic nonces are held against: the clock, and the last kRemembered of
// them. Reordered nonces pass; what is older than the forgotten ones counts as replayed.
class ReplayWindow {
 public:
  explicit ReplayWindow(int64_t floor_nonce = 0) noexcept : floor_(floor_nonce), highest_(floor_nonce) {}
  Freshness accept(int64_t nonce, int64_t now_us) noexcept;  // remembers a fresh nonce
  int64_t highest() const noexcept { return highest_; }      // floor for the sender's next life

 private:
  static constexpr size_t kRemembered = 512;
  std::array<int64_t, kRemembered> seen_{};
  size_t at_ = 0;
  int64_t floor_;
  int64_t highest_;
};

// [receiving thread] kNothing, or why an otherwise sound datagram is not authentic, fresh and new.
Refused check_seal(const HmacSha256& key, ReplayWindow& window, const uint8_t* datagram, size_t bytes,
                   bool sealed) noexcept;

}  // namespace rtbridge
