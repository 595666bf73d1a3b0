// What `rtserver live` does between a sound card's buffers and a session: the whole of it in one call from the driver's
// thread, which never waits, allocates or locks. A process may have one such thread at a time, or two where microphone
// and headphones are different devices: then the capture thread only fills a ring (DriftRing).
//
//   microphone -> [DriftRing] -> channels picked -> meter, tap -> Bridge (a session like any other; gate in the server)
//   -> guard against howling -> limiter -> mute and panic -> meter -> headphones; dry and wet to the recorder's ring
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "live/drift_ring.h"
#include "live/feedback_guard.h"
#include "live/glide.h"
#include "live/limiter.h"
#include "live/meter.h"
#include "live/take_ring.h"
#include "live/tap.h"
#include "rtbridge/bridge.h"
#include "rtbridge/wake.h"

namespace rtlive {

struct LiveConfig {
  uint32_t rate_hz = 48000;
  uint32_t max_block = 128;      // frames handed to the bridge at once, at most
  uint32_t channels = 1;         // of the session
  uint32_t input_channels = 1;   // of the device
  uint32_t first_input = 0;      // of the device's channels, the first that is used
  uint32_t output_channels = 2;  // of the device
  uint32_t drift_target = 0;     // frames; 0: one device, one clock
};

struct CallbackStats {
  uint64_t calls = 0, frames = 0;
  uint64_t input_overflows = 0, input_underflows = 0, output_underflows = 0, output_overflows = 0;  // the driver's word
  uint64_t last_call_ns = 0;                                                                        // CLOCK_MONOTONIC
  uint64_t overruns = 0;          // calls that took longer than the block they were for
  uint32_t largest_block = 0;     // frames, ever
  double device_latency_s = 0.0;  // as the driver tells it: captured to heard, without the session
};

// When a driver called and up to which frame: how evenly it does. Preallocated; once full, nothing is added.
struct CallLog {
  static constexpr size_t kMost = 4096;
  std::vector<uint64_t> ns = std::vector<uint64_t>(kMost), end_frame = std::vector<uint64_t>(kMost);
  std::atomic<size_t> count{0};
  void add(uint64_t at_ns, uint32_t frames) noexcept {
    const size_t n = count.load(std::memory_order_relaxed);
    if (n == kMost) return;
    ns[n] = at_ns;
    end_frame[n] = (n > 0 ? end_frame[n - 1] : 0) + frames;
    count.store(n + 1, std::memory_order_release);
  }
};

class LivePath {
 public:
  // bridge: of the same rate and channels, max_block or more. It must outlive the path or its successor's `retired`.
  LivePath(const LiveConfig& config, rtbridge::Bridge& bridge);  // throws std::invalid_argument

  const LiveConfig& config() const noexcept { return config_; }

  // [driver's thread, wait-free] One device: frames [count, input_channels] to [count, output_channels].
  void duplex(const float* in, float* out, uint32_t count) noexcept;
  // [capture thread, wait-free], [playback thread, wait-free] Two devices.
  void capture(const float* in, uint32_t count) noexcept { drift_->push(in, count, rtbridge::monotonic_ns()); }
  void playback(float* out, uint32_t count) noexcept;
  // [driver's thread] What the driver said about a call, and how long it took.
  void note_call(uint32_t count, unsigned long flags, double adc_s, double dac_s, uint64_t began_ns) noexcept;
  void note_capture(uint32_t count, unsigned long flags) noexcept;  // [capture thread]

  // [control thread] Goes over to another session by playing both until the new one has caught up with the input, then
  // cross-fading. False while such a change is under way. The bridge left may be used or freed once `settled`.
  bool switch_to(rtbridge::Bridge& next) noexcept;
  bool settled() const noexcept { return next_.load(std::memory_order_acquire) == nullptr; }

  void set_muted(bool on) noexcept { muted_.store(on, std::memory_order_relaxed); }
  bool muted() const noexcept { return muted_.load(std::memory_order_relaxed); }
  void panic() noexcept { panics_.fetch_add(1, std::memory_order_relaxed); }  // silent within the next block
  void set_recording(bool on) noexcept { recording_.store(on, std::memory_order_relaxed); }
  void set_drift_target(uint32_t frames) noexcept {
    if (drift_) drift_->set_target(frames);
  }
  void restart_drift() noexcept {
    if (drift_) drift_->drain();
  }

  Meter input_meter, output_meter;
  FeedbackGuard guard;
  Limiter limiter;
  Tap tap;         // the input, mono
  TakeRing takes;  // [channels + output's first two]
  CallLog calls, captures;
  CallbackStats stats() const noexcept;                                                               // [any thread]
  float read_longest_us() noexcept { return longest_us_.exchange(0.0f, std::memory_order_relaxed); }  // of a call
  const DriftRing* drift() const noexcept { return drift_.get(); }

 private:
  static constexpr uint32_t kHeard = 2;  // channels of the device that sound, at most

  void process(const float* in, float* out, uint32_t count) noexcept;
  void pick(const float* in, uint32_t count) noexcept;
  void translate(uint32_t count) noexcept;

  const LiveConfig config_;
  const uint32_t heard_;  // output channels that sound
  std::unique_ptr<DriftRing> drift_;
  std::vector<float> captured_;      // [max_block, input_channels]
  std::vector<float> dry_;           // [max_block, channels]
  std::vector<float> wet_, coming_;  // [max_block, channels]
  std::vector<float> loud_;          // [max_block, heard_]

  // The driver's thread owns current_; the control thread sets next_, the driver's thread clears it.
  rtbridge::Bridge* current_;
  std::atomic<rtbridge::Bridge*> next_{nullptr};
  uint64_t next_frames_ = 0;  // handed to it so far

  std::atomic<bool> muted_{false}, recording_{false};
  std::atomic<uint32_t> panics_{0};
  uint32_t panics_seen_ = 0, silent_left_ = 0;  // frames
  Glide mute_{1.0f}, hush_{1.0f};

  std::atomic<uint64_t> calls_{0}, frames_{0}, last_call_ns_{0}, overruns_{0};
  std::atomic<uint64_t> xruns_[4]{};  // in the order of PortAudio's flags
  std::atomic<float> longest_us_{0.0f};
  std::atomic<uint32_t> largest_block_{0};
  std::atomic<double> device_latency_s_{0.0};
};

}  // namespace rtlive
