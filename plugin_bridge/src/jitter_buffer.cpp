#include "rtbridge/jitter_buffer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace rtbridge {

JitterBuffer::JitterBuffer(uint32_t window_frames, uint32_t jitter_frames, uint32_t fade_frames)
    : window_(std::bit_ceil(std::clamp(window_frames, 64u, 1u << 22))),
      mask_(2 * window_ - 1),
      jitter_(std::min(jitter_frames, window_ / 2)),
      audio_(2 * size_t{window_}),
      states_(2 * size_t{window_}, kEmpty),
      rise_(fade_frames),
      recent_(fade_frames),
      mirror_(fade_frames) {
  for (uint32_t i = 0; i < fade_frames; ++i)
    rise_[i] = 0.5f - 0.5f * static_cast<float>(std::cos(std::numbers::pi * (i + 0.5) / fade_frames));
  reset(0);
}

void JitterBuffer::reset(uint64_t next_frame) noexcept {
  std::fill(states_.begin(), states_.end(), kEmpty);
  std::fill(recent_.begin(), recent_.end(), 0.0f);
  recent_at_ = 0;
  fade_in_ = fade_out_ = static_cast<uint32_t>(rise_.size());
  in_hole_ = false;
  next_ = highest_end_ = next_frame;
}

JitterBuffer::Push JitterBuffer::push(uint64_t frame, const float* audio, uint32_t frames) noexcept {
  const uint64_t end = frame + frames;
  if (end > next_ + window_) return Push::kTooFar;
  bool fresh = false, concealed = frame + window_ < next_;  // too old to remember: late
  for (uint32_t i = 0; i < frames; ++i) {
    const uint64_t at = frame + i;
    if (at + window_ < next_) continue;
    State& state = states_[at & mask_];
    if (at >= next_ && state == kEmpty) {
      audio_[at & mask_] = audio[i];
      state = kPresent;
      fresh = true;
    } else if (at < next_ && state != kPresent) {
      concealed = true;
    }
  }
  if (!fresh) {
    ++(concealed ? late_ : duplicates_);
    return concealed ? Push::kLate : Push::kDuplicate;
  }
  packet_frames_ = frames;
  highest_end_ = std::max(highest_end_, end);
  return Push::kAccepted;
}

void JitterBuffer::emit(float sample) noexcept {
  if (recent_.empty()) return;
  recent_[recent_at_] = sample;
  recent_at_ = recent_at_ + 1 == recent_.size() ? 0 : recent_at_ + 1;
}

float JitterBuffer::conceal_tail() noexcept {
  if (fade_out_ >= mirror_.size()) return 0.0f;
  const float sample = mirror_[fade_out_] * (1.0f - rise_[fade_out_]);
  ++fade_out_;
  return sample;
}

uint32_t JitterBuffer::pop(float* audio, uint32_t frames_max) noexcept {
  uint32_t count = 0;
  for (; count < frames_max && next_ < highest_end_; ++count, ++next_) {
    State& state = states_[next_ & mask_];
    float sample;
    if (state == kPresent) {
      in_hole_ = false;
      sample = audio_[next_ & mask_];
      if (fade_in_ < rise_.size()) sample = sample * rise_[fade_in_++] + conceal_tail();
    } else if (next_ + jitter_ < highest_end_) {
      if (!in_hole_) {
        in_hole_ = true;
        hole_frames_ = 0;
        fade_out_ = 0;
        const size_t n = recent_.size();
        for (size_t i = 0; i < n; ++i) mirror_[i] = recent_[(recent_at_ + 2 * n - 1 - i) % n];
      }
      fade_in_ = 0;
      if (hole_frames_++ % packet_frames_ == 0) ++lost_;
      ++concealed_;
      state = kConcealed;
      sample = conceal_tail();
    } else {
      break;
    }
    emit(sample);
    audio[count] = sample;
    states_[(next_ + window_) & mask_] = kEmpty;  // enters the window; was the oldest remembered
  }
  return count;
}

}  // namespace rtbridge
