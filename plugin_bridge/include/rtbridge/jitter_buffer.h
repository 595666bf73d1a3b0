// Puts the packets of one direction of a remote stream back in order. What is in order passes at once; behind a hole
// everything waits until a frame `jitter_frames` or more past the missing one has arrived, then the missing frame is
// lost and concealed: the sound before the hole is mirrored and fades out, the sound after it fades in.
// A frame thus waits at most `jitter_frames` of the sender's time, and a stream without loss keeps every bit.
#pragma once
#include <cstdint>
#include <vector>

namespace rtbridge {

class JitterBuffer {  // [one thread]
 public:
  enum class Push : uint8_t { kAccepted, kLate, kDuplicate, kTooFar };

  // window_frames: how far ahead of the next frame a packet may reach; rounded up to a power of two.
  JitterBuffer(uint32_t window_frames, uint32_t jitter_frames, uint32_t fade_frames);

  void reset(uint64_t next_frame) noexcept;  // forgets the audio, keeps the counters
  // kLate: its frames have been concealed. kTooFar: beyond the window, nothing is taken: reset() to go there.
  Push push(uint64_t frame, const float* audio, uint32_t frames) noexcept;
  // The frames that come next, as far as they are certain; 0: wait. Gives how many were written.
  uint32_t pop(float* audio, uint32_t frames_max) noexcept;

  uint64_t next_frame() const noexcept { return next_; }
  uint64_t late() const noexcept { return late_; }
  uint64_t duplicates() const noexcept { return duplicates_; }
  uint64_t lost() const noexcept { return lost_; }            // packets, judging by the size of the last one
  uint64_t concealed() const noexcept { return concealed_; }  // frames

 private:
  enum State : uint8_t { kEmpty, kPresent, kConcealed };
  float conceal_tail() noexcept;
  void emit(float sample) noexcept;

  uint32_t window_;  // frames ahead; as many behind are remembered, to tell late from duplicate
  uint32_t mask_;
  uint32_t jitter_;
  std::vector<float> audio_;   // [2 * window]
  std::vector<State> states_;  // [2 * window]
  std::vector<float> rise_;    // [fade] 0 to 1, raised cosine
  std::vector<float> recent_;  // [fade] ring of the last frames given out
  std::vector<float> mirror_;  // [fade] recent_ when the hole began, newest first
  uint32_t recent_at_ = 0;
  uint32_t fade_out_ = 0;  // position in mirror_; past its end: silence
  uint32_t fade_in_ = 0;   // position in rise_; past its end: untouched
  bool in_hole_ = false;
  uint64_t next_ = 0;
  uint64_t highest_end_ = 0;
  uint32_t packet_frames_ = 1;
  uint32_t hole_frames_ = 0;
  uint64_t late_ = 0, duplicates_ = 0, lost_ = 0, concealed_ = 0;
};

}  // namespace rtbridge
