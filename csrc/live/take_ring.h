// What is recorded, dry and wet side by side, on its way from the audio thread (writes) to the thread that writes files
// (reads). Full: the block is dropped and counted, dry and wet alike, so the two stay in time with each other.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rtlive {

class TakeRing {
 public:
  TakeRing(uint32_t channels, uint32_t frames) : channels_(channels), size_(frames) {
    memory_.resize(size_t{frames} * channels);
  }
  uint32_t channels() const noexcept { return channels_; }
  uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }  // frames

  // [audio thread, wait-free] dry [count, dry_channels] and wet [count, channels - dry_channels]
  void write(const float* dry, uint32_t dry_channels, const float* wet, uint32_t count) noexcept {
    const uint32_t wet_channels = channels_ - dry_channels;
    const uint64_t end = end_.load(std::memory_order_relaxed);
    if (end + count - begin_.load(std::memory_order_acquire) > size_) {
      dropped_.fetch_add(count, std::memory_order_relaxed);
      return;
    }
    for (uint32_t i = 0; i < count; ++i) {
      float* slot = &memory_[(end + i) % size_ * channels_];
      std::copy_n(dry + size_t{i} * dry_channels, dry_channels, slot);
      std::copy_n(wet + size_t{i} * wet_channels, wet_channels, slot + dry_channels);
    }
    end_.store(end + count, std::memory_order_release);
  }
  uint32_t available() const noexcept {
    return static_cast<uint32_t>(end_.load(std::memory_order_acquire) - begin_.load(std::memory_order_relaxed));
  }
  // [writing thread] At most `available()` frames.
  void read(float* out, uint32_t count) noexcept {
    const uint64_t begin = begin_.load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < count; ++i)
      std::copy_n(&memory_[(begin + i) % size_ * channels_], channels_, out + size_t{i} * channels_);
    begin_.store(begin + count, std::memory_order_release);
  }

 private:
  const uint32_t channels_;
  const uint64_t size_;
  std::vector<float> memory_;
  std::atomic<uint64_t> begin_{0}, end_{0}, dropped_{0};
};

}  // namespace rtlive
