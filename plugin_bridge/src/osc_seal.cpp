#include "rtbridge/osc_seal.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "big_endian.h"

namespace rtbridge {

int64_t unix_time_us() noexcept {
  using namespace std::chrono;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

void put_seal(const HmacSha256& key, int64_t nonce, uint8_t* message, size_t bytes) noexcept {
  put_be64(message + bytes, static_cast<uint64_t>(nonce));
  put_be32(message + bytes + 8, kMacBytes);
  const auto mac = key.digest(message, bytes + 12);
  std::memcpy(message + bytes + 12, mac.data(), kMacBytes);
}

bool seal_fits(const HmacSha256& key, const uint8_t* message, size_t bytes, int64_t& nonce) noexcept {
  if (bytes < kSealBytes) return false;
  const uint8_t* tail = message + bytes - kSealBytes;
  if (get_be32(tail + 8) != kMacBytes) return false;
  nonce = static_cast<int64_t>(get_be64(tail));
  const auto mac = key.digest(message, bytes - kMacBytes);
  return equal_bytes(mac.data(), tail + 12, kMacBytes);
}

Freshness ReplayWindow::accept(int64_t nonce, int64_t now_us) noexcept {
  if (nonce < 0 || nonce > now_us + kStaleUs || nonce < now_us - kStaleUs) return Freshness::kStale;
  if (nonce <= floor_) return Freshness::kReplayed;
  if (nonce <= highest_ && std::find(seen_.begin(), seen_.end(), nonce) != seen_.end()) return Freshness::kReplayed;
  floor_ = std::max(floor_, seen_[at_]);
  seen_[at_] = nonce;
  at_ = (at_ + 1) % kRemembered;
  highest_ = std::max(highest_, nonce);
  return Freshness::kFresh;
}

Refused check_seal(const HmacSha256& key, ReplayWindow& window, const uint8_t* datagram, size_t bytes,
                   bool sealed) noexcept {
  int64_t nonce = 0;
  if (!sealed) return Refused::kUnsealed;
  if (!seal_fits(key, datagram, bytes, nonce)) return Refused::kForged;
  switch (window.accept(nonce, unix_time_us())) {
    case Freshness::kFresh:
      return Refused::kNothing;
    case Freshness::kStale:
      return Refused::kStale;
    case Freshness::kReplayed:
      break;
  }
  return Refused::kReplayed;
}

}  // namespace rtbridge
