// The client's end of a session: what a plugin's audio callback calls. It hands blocks in, takes translated blocks out
// exactly `latency_frames` later, and plays the latency-aligned dry signal whenever the translation isn't there.
//
// Two roles. The control thread attaches, detaches, sets parameters and may block. The audio thread calls process(),
// which never waits (unless offline), allocates, locks or throws. Everything between the two is an atomic.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rtbridge/segment.h"

namespace rtbridge {

struct BridgeConfig {
  uint32_t sample_rate_hz = 48000;
  uint32_t max_block_frames = 128;
  uint32_t channels = 1;
  uint32_t latency_frames = 0;  // reported to the host; fixed for the life of the bridge
  uint32_t fade_frames = 48;    // part of the margin
};

enum class Param : uint32_t {
  kMix,
  kOutputGainDb,
  kInputGainDb,
  kGateDb,
  kTemperature,
  kBypass,
  kFallback,
  kDecoder,
  kSeed,
  kPanic,
  kCount
};

enum class Status {
  kOk,
  kServerGone,  // offline only: the server left, didn't answer by the deadline, or was changed; the block is silence
};

struct BridgeStats {
  uint64_t blocks = 0;
  uint64_t misses = 0;
  uint64_t misses_by_cause[RT_MISS_CAUSES] = {};
  uint64_t epochs = 0;  // streams begun
  uint64_t frames = 0;  // frames processed
};

struct MissEvent {
  uint64_t ns;     // CLOCK_MONOTONIC
  uint64_t frame;  // host frame of the block's start
  uint32_t cause;  // rt_miss_cause
};

// Preallocated by a measuring driver; the audio thread fills it. Full: what comes later is not logged.
struct BridgeLog {
  std::vector<float> round_trip_us;  // submitted to published, a block
  size_t round_trips = 0;
  std::vector<MissEvent> misses;
  size_t miss_count = 0;
};

class Bridge {
 public:
  explicit Bridge(const BridgeConfig& config);  // throws std::invalid_argument
  ~Bridge();
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  const BridgeConfig& config() const noexcept { return config_; }

  // [control thread] The audio thread changes over at its next block, through a cross-fade, and starts a new epoch.
  // Refuses (std::invalid_argument) a segment of another rate, channel count, latency or smaller block.
  void attach(std::shared_ptr<Segment> segment);
  void detach();              // [control thread]
  void heartbeat() noexcept;  // [control thread] tells the server that the client lives though no audio flows
  std::shared_ptr<Segment> segment() const noexcept { return control_segment_; }  // [control thread]
  bool server_alive() const noexcept;  // [control thread] attached, open, heartbeat fresh

  // [control thread] Values are clamped to their range; false for NaN. Kept over re-attachments.
  bool set(Param param, double value) noexcept;
  double get(Param param) const noexcept;
  // [audio thread, wait-free] The same from the audio callback, for hosts that automate there. What was set here is
  // written into every later segment too. Panic: any value.
  bool set_live(Param param, double value) noexcept;
  void set_offline(bool offline) noexcept { offline_.store(offline, std::memory_order_relaxed); }
  bool offline() const noexcept { return offline_.load(std::memory_order_relaxed); }
  void set_offline_deadline_ms(uint32_t ms) noexcept { offline_deadline_ms_.store(ms, std::memory_order_relaxed); }
  uint32_t offline_deadline_ms() const noexcept { return offline_deadline_ms_.load(std::memory_order_relaxed); }
  BridgeStats stats() const noexcept;                                                   // [any thread]
  uint64_t misses() const noexcept { return misses_.load(std::memory_order_relaxed); }  // [any thread]

  // [audio thread, before or between blocks; blocks] Asks for an epoch and waits until the server is ready for it, so
  // that the next block is the first of the stream and none is lost.
  bool wait_ready(uint64_t timeout_ns) noexcept;
  // [audio thread] Forgets the delay line: the next block is the first of a new stream.
  void reset() noexcept;
  // [audio thread, wait-free unless offline] Interleaved frames; `out` may be `in`. Any number of frames. Offline, the
  // stream begins with the first frame that isn't digital silence; before it, silence comes back.
  Status process(const float* in, float* out, uint32_t frames) noexcept;
  void set_log(BridgeLog* log) noexcept { log_ = log; }  // [audio thread]

 private:
  struct Attachment {
    std::shared_ptr<Segment> segment;  // null: detached
    Attachment* next_retired = nullptr;
  };
  // A value on its way to another, so that no parameter clicks.
  struct Ramp {
    float value = 0.0f, target = 0.0f, step = 0.0f;
    uint32_t left = 0;
    void jump(float to) noexcept;
    void go(float to, uint32_t frames) noexcept;
    float next() noexcept;
  };
  enum class State { kIdle, kRequested, kLive };

  void take_over(std::shared_ptr<Segment> segment);
  void free_retired() noexcept;
  void adopt_pending() noexcept;
  void store_live(Param param) noexcept;
  void request_epoch() noexcept;
  bool server_gone(uint64_t now_ns) const noexcept;
  bool wait_until_ready(uint64_t deadline_ns) noexcept;
  uint32_t pass_leading_silence(const float* in, float* out, uint32_t frames) noexcept;
  Status process_block(const float* in, float* out, uint32_t frames) noexcept;
  Status submit(const float* in, uint32_t frames, uint64_t now_ns) noexcept;
  Status wait_taken(uint64_t deadline_ns) noexcept;
  bool wet_ready(int64_t from, uint32_t frames) const noexcept;
  Status wait_for_wet(int64_t from, uint32_t frames) noexcept;
  void read_wet(int64_t from, float* target, uint32_t frames) const noexcept;
  uint32_t miss_cause(int64_t from, uint32_t frames, uint64_t now_ns) const noexcept;
  void count_miss(uint32_t cause, uint64_t now_ns) noexcept;
  void restart_if_far_behind(int64_t from, uint32_t frames, uint32_t cause) noexcept;
  void read_mix_parameters() noexcept;
  void mix_block(float* out, uint32_t frames, bool ready) noexcept;
  void harvest_round_trips() noexcept;
  float parameter(Param param) const noexcept;

  const BridgeConfig config_;

  // Control thread.
  std::shared_ptr<Segment> control_segment_;
  uint32_t touched_ = 0;  // parameters set here at least once: these are carried into a new segment

  // Control to audio and back: the next attachment, and those that the audio thread has left (a stack: the audio
  // thread pushes, the control thread takes all).
  std::atomic<Attachment*> pending_{nullptr};
  std::atomic<Attachment*> retired_{nullptr};
  std::atomic<float> values_[static_cast<size_t>(Param::kCount)];
  std::atomic<uint64_t> seed_{0};
  std::atomic<bool> offline_{false};
  std::atomic<uint32_t> offline_deadline_ms_{30000};

  // Audio thread; statistics are written by it and read by any.
  Attachment* current_ = nullptr;
  Segment* segment_ = nullptr;  // current_'s
  RingView input_, output_;     // this thread writes the input ring and reads the output ring
  State state_ = State::kIdle;
  uint32_t epoch_ = 0;
  uint64_t epoch_start_ = 0;
  uint64_t origin_ = 0;                      // frame of the last reset: everything before is silence, dry and wet
  uint64_t frame_ = 0;                       // next frame to be handed in
  uint32_t restart_cause_ = RT_MISS_CAUSES;  // of the miss that made this epoch necessary, until it is heard
  uint32_t panic_seen_ = 0;
  bool panicking_ = false;
  uint64_t blocks_submitted_ = 0, harvested_ = 0;
  std::vector<uint64_t> end_frames_, submitted_ns_;  // [RT_STAMPS], own copy of the stamps
  std::vector<float> delay_memory_;
  RingView delay_;
  std::vector<float> wet_, dry_;  // [max_block, channels]
  std::vector<float> tail_;       // [fade, channels] the translation after the last block that was there
  uint32_t tail_used_ = 0;
  uint32_t fade_ = 1;      // frames
  uint32_t presence_ = 0;  // 0 fallback .. fade_ translation
  bool mixing_started_ = false;
  Ramp wet_weight_, dry_weight_, fallback_weight_;
  uint32_t live_ = 0;                                         // parameters set by the audio thread at least once
  double live_values_[static_cast<size_t>(Param::kCount)]{};  // their values, clamped
  BridgeLog* log_ = nullptr;
  std::atomic<uint64_t> blocks_{0}, misses_{0}, epochs_{0}, frames_{0};
  std::atomic<uint64_t> misses_by_cause_[RT_MISS_CAUSES];
};

}  // namespace rtbridge
