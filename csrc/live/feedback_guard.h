// Notices when the microphone hears the loudspeaker and a howl builds up, and turns the loudspeaker down.
//
// A howl grows by the same number of decibels each time it goes round, until something clips. So does a crescendo, more
// or less; the difference is who is in charge. The guard waits for a suspicion (loud and growing steadily, or loud and
// pinned), then asks: it turns the output down by kProbeDb. A singer goes on as before, a howl follows. What followed
// is ducked by 60 dB until the room is calm, and comes back with less gain, so that the loop is broken for good; that
// gain returns by 1 dB a second. A false suspicion costs a dip of a tenth of a second or two and makes the guard wait
// longer before the next, so no held note is dipped again and again.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

namespace rtlive {

class FeedbackGuard {
 public:
  static constexpr float kProbeDb = -18.0f;

  explicit FeedbackGuard(uint32_t rate_hz);

  // [audio thread, wait-free] For each block: what the microphone gave, mono; then the gain of what goes out, a frame
  // at a time; then what went out, with that gain.
  void heard(const float* in, uint32_t count) noexcept;
  float next_gain() noexcept;
  // limited: the limiter holds it down.
  void played(float sample, bool limited) noexcept {
    out_power_ += sample * sample;
    ++out_frames_;
    clipped_ |= limited;
  }

  void set_enabled(bool on) noexcept { enabled_.store(on, std::memory_order_relaxed); }  // [any thread]
  uint64_t howls() const noexcept { return howls_.load(std::memory_order_relaxed); }     // [any thread]
  uint64_t probes() const noexcept { return probes_.load(std::memory_order_relaxed); }   // [any thread]
  float gain_db() const noexcept { return gain_told_.load(std::memory_order_relaxed); }  // [any thread]

 private:
  static constexpr int kWindows = 64;  // of kWindowMs: what is looked back on
  static constexpr float kWindowMs = 5.0f;
  enum class State { kListening, kProbing, kDucked };
  struct Window {
    float in_db = -120.0f;
    float envelope_db = -120.0f;  // of the input: at once up, slowly down, so that what comes round in pulses counts
    float out_db = -120.0f;
    bool clipped = false;  // the microphone or the limiter
  };

  void window(float in_db, float out_db) noexcept;
  bool suspicious() const noexcept;
  bool growing() const noexcept;
  bool pinned() const noexcept;
  void enter(State state) noexcept;
  void aim(float db, float milliseconds) noexcept;
  const Window& back(int windows) const noexcept {
    return windows_[static_cast<size_t>((head_ + kWindows - windows) % kWindows)];
  }

  const uint32_t rate_hz_, window_frames_;
  std::atomic<bool> enabled_{true};
  std::atomic<uint64_t> howls_{0}, probes_{0};
  std::atomic<float> gain_told_{0.0f};

  uint32_t in_window_ = 0, out_frames_ = 0;
  float in_power_ = 0.0f, out_power_ = 0.0f;
  bool clipped_ = false;
  std::array<Window, kWindows> windows_{};  // a ring, newest at head_
  int head_ = 0, filled_ = 0;
  State state_ = State::kListening;
  int elapsed_ = 0;            // windows in this state
  float before_db_ = -120.0f;  // loudest window of the input before the probe began
  float trim_db_ = 0.0f;       // what the howls so far have cost
  int patience_ = 0;           // windows until the next suspicion may be looked into
  int next_patience_;
  float gain_ = 1.0f, target_ = 1.0f, step_ = 0.0f;
};

}  // namespace rtlive
