// Host frames to hops of network input: mean of the channels, resampling to 16 kHz, input gain, gate, mu-law.
// First stage of the server's path; used by the intake thread of a session and, synchronously, by `translate`.
// Every step works sample by sample at 16 kHz counted from the start, so hops don't depend on the host's blocks.
#pragma once
#include <vector>

#include "stream/mu_law.h"
#include "stream/resampler.h"

namespace rtstream {

constexpr int kNetworkRateHz = 16000;
constexpr float kGateOffDb = -90.0f;

class Intake {
 public:
  static constexpr int kMaxPush = Resampler::kMaxPush;

  Intake(int rate_hz, int channels, int hop_samples, Encoding encoding);  // throws std::invalid_argument

  int hop_samples() const noexcept { return hop_samples_; }
  void reset() noexcept;
  // Taken over at the next start of a hop; the gain glides over that hop. NaN leaves the value as it is.
  void set_input_gain_db(float db) noexcept;
  void set_gate_db(float db) noexcept;  // at or below -90: off

  // [intake thread] interleaved [frames, channels], frames <= kMaxPush. NaN and Inf count as silence.
  // At most `hop_samples - 1` samples may be waiting: pop every hop before pushing again.
  void push(const float* frames, int count) noexcept;
  bool pop_hop(float* hop) noexcept;  // [hop_samples] into `hop`, or false
  // After the end: one round of silence, as a client would send that plays on, until the hops are there that the
  // pushed frames' translation needs (`lookahead_samples` more for an encoder that looks ahead). Pop every hop, then
  // call again, until false. Push nothing more before the next reset.
  bool finish(int lookahead_samples) noexcept;

 private:
  void take(float sample) noexcept;
  float gate(float sample) noexcept;

  int channels_;
  int hop_samples_;
  Encoding encoding_;
  Resampler resampler_;
  MuLaw mu_law_;
  std::vector<float> mono_;       // [kMaxPush]
  std::vector<float> resampled_;  // [max_output(kMaxPush)]
  std::vector<float> waiting_;    // samples of the next hops, after gain and gate
  uint64_t pushed_ = 0;           // host frames since the reset
  uint64_t taken_ = 0;            // samples since the reset
  uint64_t end_ = 0;              // samples to finish at, 0: not finishing
  int output_half_;               // of the renderer's filter, samples
  int rate_hz_;
  int held_ = 0;
  int position_in_hop_ = 0;  // of the next sample
  float gain_target_ = 1.0f, gain_ = 1.0f, gain_step_ = 0.0f;
  float gate_db_ = kGateOffDb;
  bool gating_ = false, open_ = false;
  float open_level_ = 0.0f, envelope_ = 0.0f, gate_gain_ = 1.0f;
};

}  // namespace rtstream
