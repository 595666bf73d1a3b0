// Level of a signal, for a screen: written by the audio thread, read and begun anew by any other.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace rtlive {

class Meter {
 public:
  struct Reading {
    float peak = 0.0f;  // since the last reading
    float rms = 0.0f;   // of the last 50 ms
  };

  explicit Meter(uint32_t rate_hz) : decay_(1.0f - std::exp(-1.0f / (0.05f * static_cast<float>(rate_hz)))) {}

  // [audio thread, wait-free] frames [count, channels]
  void add(const float* frames, uint32_t count, uint32_t channels) noexcept {
    float peak = 0.0f;
    for (uint32_t i = 0; i < count; ++i) {
      float power = 0.0f;
      for (uint32_t c = 0; c < channels; ++c) {
        const float x = frames[size_t{i} * channels + c];
        peak = std::max(peak, std::abs(x));
        power += x * x;
      }
      power_ += decay_ * (power / static_cast<float>(channels) - power_);
    }
    rms_.store(std::sqrt(power_), std::memory_order_relaxed);
    // A reading in between takes the older peak with it or leaves it: either way none is lost for good.
    if (peak > peak_.load(std::memory_order_relaxed)) peak_.store(peak, std::memory_order_relaxed);
  }
  Reading read() noexcept {
    return {peak_.exchange(0.0f, std::memory_order_relaxed), rms_.load(std::memory_order_relaxed)};
  }

 private:
  const float decay_;
  float power_ = 0.0f;
  std::atomic<float> peak_{0.0f}, rms_{0.0f};
};

}  // namespace rtlive
