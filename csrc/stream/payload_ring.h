// Bounded ring of fixed-size float payloads with a tag each, one producer thread and one consumer thread, wait-free.
// Full: the producer is refused and decides (nothing is overwritten).
#pragma once
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace rtstream {

template <class Tag>
class PayloadRing {
 public:
  PayloadRing(size_t least_slots, size_t floats)
      : mask_(std::bit_ceil(least_slots) - 1), floats_(floats), tags_(mask_ + 1), payloads_((mask_ + 1) * floats) {}

  size_t capacity() const noexcept { return mask_ + 1; }
  size_t size() const noexcept {  // [either thread] exact for neither, safe for both
    return static_cast<size_t>(written_.load(std::memory_order_acquire) - read_.load(std::memory_order_acquire));
  }

  // [producer] The slot to fill, or null when full; then publish().
  float* claim() noexcept {
    const uint64_t at = written_.load(std::memory_order_relaxed);
    if (at - read_.load(std::memory_order_acquire) > mask_) return nullptr;
    return payloads_.data() + (at & mask_) * floats_;
  }
  void publish(const Tag& tag) noexcept {
    const uint64_t at = written_.load(std::memory_order_relaxed);
    tags_[at & mask_] = tag;
    written_.store(at + 1, std::memory_order_release);
  }

  // [consumer] The oldest payload, or null; valid until pop().
  const float* front(Tag* tag) const noexcept {
    const uint64_t at = read_.load(std::memory_order_relaxed);
    if (at == written_.load(std::memory_order_acquire)) return nullptr;
    *tag = tags_[at & mask_];
    return payloads_.data() + (at & mask_) * floats_;
  }
  void pop() noexcept { read_.store(read_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

 private:
  size_t mask_;
  size_t floats_;
  std::vector<Tag> tags_;
  std::vector<float> payloads_;
  alignas(64) std::atomic<uint64_t> written_{0};  // producer's
  alignas(64) std::atomic<uint64_t> read_{0};     // consumer's
};

}  // namespace rtstream
