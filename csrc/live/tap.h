// The last second of a mono signal, for a display that may look at any time and never disturbs who writes.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rtlive {

class Tap {
 public:
  explicit Tap(size_t frames) : memory_(frames) {}

  // [audio thread, wait-free] Every stride-th value.
  void add(const float* values, uint32_t count, uint32_t stride) noexcept {
    uint64_t at = end_.load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < count; ++i)
      memory_[at++ % memory_.size()].store(values[size_t{i} * stride], std::memory_order_relaxed);
    end_.store(at, std::memory_order_release);
  }
  // [any thread] The last count values, oldest first; may be torn if the writer laps the reader.
  void copy_last(float* out, size_t count) const noexcept {
    const uint64_t end = end_.load(std::memory_order_acquire);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t back = count - i;
      out[i] = back > end || back > memory_.size()
                   ? 0.0f
                   : memory_[(end - back) % memory_.size()].load(std::memory_order_relaxed);
    }
  }

 private:
  std::vector<std::atomic<float>> memory_;
  std::atomic<uint64_t> end_{0};
};

}  // namespace rtlive
