// Polyphase resampler between any two whole rates, for both ends of the network: constant delay, an even flow of
// frames, and the same bits for any partition of the input (every output is one dot product of fixed order).
//
// Output k is the filtered input at time k * in / out, in input frames: zero phase, so the delay is only the frames
// that must have arrived, `half_length()`. Filter: Kaiser-windowed sinc, flat to 7/16 of the slower rate, at least
// 80 dB down from 8/16 of it (so what would fold lands nowhere). 16 kHz against anything faster: 7 kHz and 8 kHz.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace rtstream {

class Resampler {
 public:
  static constexpr int kMaxPush = 512;  // input frames a push may hold

  Resampler(int in_rate_hz, int out_rate_hz);  // throws std::invalid_argument

  // Half length of the filter, in input frames: output at time t needs input frames <= floor(t) + half_length().
  static int half_length(int in_rate_hz, int out_rate_hz);
  int half_length() const noexcept { return half_; }
  int max_output(int input_frames) const noexcept;  // most frames one push can give
  // Output frames that exist once `input_frames` have been pushed since the reset.
  uint64_t outputs_after(uint64_t input_frames) const noexcept;

  void reset() noexcept;
  // [audio-thread, wait-free] Takes `frames` <= kMaxPush, writes what became ready to `out`, gives how many.
  int push(const float* in, int frames, float* out) noexcept;
  // [audio-thread, wait-free] Time goes on by `frames` of input that are never to come: what is pushed next follows
  // what was pushed last without a seam, only later. Gives how many output frames are left out.
  uint64_t pass_over(int frames) noexcept;
  // The rest, as if silence followed: up to ceil(pushed * out / in) outputs in all. Writes at most max_output(kMaxPush)
  // frames a call; 0 when all is out.
  int flush(float* out) noexcept;

 private:
  struct Table {
    int rows = 0;  // phases, or interpolated steps + 1
    bool interpolated = false;
    std::vector<float> taps;  // [rows][2 * half]
  };
  static std::shared_ptr<const Table> table_for(int up, int down, int half, double half_exact, double cutoff);
  float output_at(const float* window) const noexcept;
  int drain(float* out, uint64_t limit) noexcept;

  int up_ = 1, down_ = 1;  // out / in in lowest terms
  int half_ = 0;
  std::shared_ptr<const Table> table_;
  std::vector<float> history_;  // input frames [first_, first_ + held_)
  int held_ = 0;
  uint64_t pushed_ = 0;   // input frames since reset
  uint64_t emitted_ = 0;  // output frames since reset
  int cursor_ = 0;        // history_ index of the first tap of the next output
  int phase_ = 0;         // of the next output, in 1/up_ input frames
};

}  // namespace rtstream
