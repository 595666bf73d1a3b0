// Frames from a capture device to a playback device whose clock is another: a ring that is read a little faster or
// slower than it is written, so that what waits in it, and with it the latency, stays where it should be.
//
// Steady drift is followed by reading between the frames (cubic, up to kMostPpm). What no drift explains, a device that
// stood still or delivered in a heap, is mended at once by a skip, cross-faded and counted; an empty ring gives silence
// until it has filled up again, faded out and in.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rtlive {

class DriftRing {
 public:
  struct Stats {
    uint64_t starved = 0;  // times it ran empty
    uint64_t skips = 0;    // times it was too full
    uint64_t lost = 0;     // frames that found no room
    float ppm = 0.0f;      // by how much reading is faster than writing
    float waiting = 0.0f;  // frames, smoothed
    float target = 0.0f;   // frames
  };
  static constexpr double kMostPpm = 2000.0;

  // target: frames that should lie between what the microphone hears now and what is read next: what both sides move at
  // once and a little more.
  DriftRing(uint32_t channels, uint32_t rate_hz, uint32_t target);

  // now_ns: CLOCK_MONOTONIC, the same for both. Blocks of two clocks drift past each other, so counting what is there
  // would see steps of a block; what was captured since the last push is added to it.
  void push(const float* frames, uint32_t count, uint64_t now_ns) noexcept;  // [capture thread, wait-free]
  void pull(float* frames, uint32_t count, uint64_t now_ns) noexcept;        // [playback thread, wait-free]
  void drain() noexcept { drain_.store(true, std::memory_order_relaxed); }   // [any thread] a stream begins anew
  // [any thread] More, for a device that turns out less even than it looked; the delay grows by a skip back.
  void set_target(uint32_t frames) noexcept { target_.store(frames, std::memory_order_relaxed); }
  uint32_t target() const noexcept { return target_.load(std::memory_order_relaxed); }
  Stats stats() const noexcept;  // [any thread]

 private:
  void read(double position, float* frame) const noexcept;
  void skip_to(double position) noexcept;

  const uint32_t channels_, rate_hz_;
  std::atomic<uint32_t> target_;  // frames
  const uint64_t mask_;
  const uint32_t fade_;  // frames of a cross-fade
  std::vector<float> memory_;
  std::atomic<uint64_t> written_{0}, read_{0}, pushed_ns_{0};
  std::atomic<uint32_t> pushed_{0};  // frames of the last push
  std::atomic<bool> drain_{false};

  // Playback thread.
  double position_ = 0.0;  // of the next frame, between two of the ring's
  double old_position_ = 0.0;
  uint32_t crossing_ = 0;  // frames left of a skip's cross-fade
  double smoothed_ = 0.0;
  bool filling_ = true;
  float presence_ = 0.0f;
  std::vector<float> last_, other_;
  std::atomic<uint64_t> starved_{0}, skips_{0}, lost_{0};
  std::atomic<float> ppm_{0.0f}, waiting_{0.0f};
};

}  // namespace rtlive
