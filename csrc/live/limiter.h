// Last stage before the loudspeaker: nothing leaves louder than the ceiling. No look-ahead, so no latency: the gain
// falls at once and comes back over a tenth of a second, the same for all channels.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace rtlive {

class Limiter {
 public:
  static constexpr float kCeiling = 0.891251f;  // -1 dBFS: room for what a converter overshoots between samples

  explicit Limiter(uint32_t rate_hz) : recovery_(1.0f - std::exp(-1.0f / (0.1f * static_cast<float>(rate_hz)))) {}

  // [audio thread, wait-free] frames [count, channels], in place
  void process(float* frames, uint32_t count, uint32_t channels) noexcept {
    float lowest = 1.0f;
    for (uint32_t i = 0; i < count; ++i) {
      float* frame = frames + size_t{i} * channels;
      float peak = 0.0f;
      for (uint32_t c = 0; c < channels; ++c) peak = std::max(peak, std::abs(frame[c]));
      gain_ += recovery_ * (1.0f - gain_);
      if (peak * gain_ > kCeiling) gain_ = kCeiling / peak;
      lowest = std::min(lowest, gain_);
      for (uint32_t c = 0; c < channels; ++c) frame[c] = std::clamp(frame[c] * gain_, -kCeiling, kCeiling);
    }
    last_ = lowest;
    if (lowest < lowest_.load(std::memory_order_relaxed)) lowest_.store(lowest, std::memory_order_relaxed);
  }
  float last_gain() const noexcept { return last_; }                                          // [audio thread]
  float read_lowest() noexcept { return lowest_.exchange(1.0f, std::memory_order_relaxed); }  // [any thread]

 private:
  const float recovery_;
  float gain_ = 1.0f, last_ = 1.0f;
  std::atomic<float> lowest_{1.0f};
};

}  // namespace rtlive
