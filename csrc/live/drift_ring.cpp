#include "live/drift_ring.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace rtlive {
namespace {
constexpr double kPpmPerMs = 400.0;        // of distance from the target: closes it with a time constant of 2.5 s
constexpr double kSmoothingSeconds = 0.5;  // a quarter of that or less, so that it doesn't swing
constexpr double kFarSeconds = 0.02;       // further off than this is no drift
constexpr double kBehind = 2.0;            // frames that cubic interpolation needs beyond the position
}  // namespace

DriftRing::DriftRing(uint32_t channels, uint32_t rate_hz, uint32_t target)
    : channels_(channels),
      rate_hz_(rate_hz),
      target_(target),
      mask_(std::bit_ceil(uint64_t{4} * target + rate_hz) - 1),
      fade_(std::max(1u, rate_hz / 400)),
      memory_((mask_ + 1) * channels),
      last_(channels),
      other_(channels) {}

void DriftRing::push(const float* frames, uint32_t count, uint64_t now_ns) noexcept {
  const uint64_t written = written_.load(std::memory_order_relaxed);
  const uint64_t room = mask_ + 1 - (written - read_.load(std::memory_order_acquire));
  const auto taken = static_cast<uint32_t>(std::min<uint64_t>(room, count));
  for (uint32_t i = 0; i < taken; ++i)
    std::copy_n(frames + size_t{i} * channels_, channels_, &memory_[((written + i) & mask_) * channels_]);
  pushed_ns_.store(now_ns, std::memory_order_relaxed);
  pushed_.store(count, std::memory_order_relaxed);
  written_.store(written + taken, std::memory_order_release);
  if (taken < count) lost_.fetch_add(count - taken, std::memory_order_relaxed);
}

void DriftRing::read(double position, float* frame) const noexcept {
  const double whole = std::floor(position);
  const auto t = static_cast<float>(position - whole);
  const auto at = static_cast<uint64_t>(whole);
  for (uint32_t c = 0; c < channels_; ++c) {
    const auto value = [&](uint64_t index) { return memory_[(index & mask_) * channels_ + c]; };
    const float a = value(at - 1), b = value(at), d = value(at + 1), e = value(at + 2);
    // Catmull-Rom: exact at t = 0, so equal clocks change nothing.
    frame[c] = b + 0.5f * t * (d - a + t * (2.0f * a - 5.0f * b + 4.0f * d - e + t * (3.0f * (b - d) + e - a)));
  }
}

void DriftRing::skip_to(double position) noexcept {
  old_position_ = position_;
  crossing_ = fade_;
  position_ = position;
  smoothed_ = target_.load(std::memory_order_relaxed);
}

void DriftRing::pull(float* frames, uint32_t count, uint64_t now_ns) noexcept {
  const double target = target_.load(std::memory_order_relaxed);
  const uint64_t written = written_.load(std::memory_order_acquire);
  const auto end = static_cast<double>(written);
  const uint64_t pushed_ns = pushed_ns_.load(std::memory_order_relaxed);
  const double since = now_ns > pushed_ns ? static_cast<double>(now_ns - pushed_ns) * 1e-9 * rate_hz_ : 0.0;
  const double heard = end + std::min(since, static_cast<double>(pushed_.load(std::memory_order_relaxed)));
  if (drain_.exchange(false, std::memory_order_relaxed)) filling_ = true;
  if (filling_ && heard - position_ >= target && end >= target) {
    filling_ = false;
    position_ = std::max(1.0, std::floor(heard - target));
    smoothed_ = heard - position_;
    crossing_ = 0;
  }
  const double waiting = heard - position_;
  double rate = 1.0;
  if (!filling_) {
    smoothed_ += (1.0 - std::exp(-static_cast<double>(count) / (kSmoothingSeconds * rate_hz_))) * (waiting - smoothed_);
    if (waiting > target + kFarSeconds * rate_hz_ + count && smoothed_ > target + 0.5 * kFarSeconds * rate_hz_) {
      skips_.fetch_add(1, std::memory_order_relaxed);
      skip_to(std::floor(heard - target));
    }
    const double off_ms = 1000.0 * (smoothed_ - target) / rate_hz_;
    const double ppm = std::clamp(off_ms * kPpmPerMs, -kMostPpm, kMostPpm);
    if (std::abs(ppm) > 20.0) rate += ppm * 1e-6;  // equal clocks: a whole step, bit for bit
    ppm_.store(static_cast<float>(1e6 * (rate - 1.0)), std::memory_order_relaxed);
    waiting_.store(static_cast<float>(smoothed_), std::memory_order_relaxed);
  }
  const float step = 1.0f / static_cast<float>(fade_);
  for (uint32_t i = 0; i < count; ++i) {
    float* frame = frames + size_t{i} * channels_;
    const bool there = !filling_ && position_ + kBehind < end;
    if (there) {
      read(position_, frame);
      position_ += rate;
      if (crossing_ > 0) {
        read(old_position_, other_.data());
        old_position_ += rate;
        const float old = static_cast<float>(--crossing_) * step;
        for (uint32_t c = 0; c < channels_; ++c) frame[c] += old * (other_[c] - frame[c]);
      }
      std::copy_n(frame, channels_, last_.data());
      presence_ = std::min(1.0f, presence_ + step);
    } else {
      if (!filling_) {
        filling_ = true;
        starved_.fetch_add(1, std::memory_order_relaxed);
      }
      std::copy_n(last_.data(), channels_, frame);
      presence_ = std::max(0.0f, presence_ - step);
    }
    for (uint32_t c = 0; c < channels_; ++c) frame[c] *= presence_;
  }
  // What a cross-fade still needs may not be overwritten, nor the frame before the position.
  const double oldest = std::min(position_, crossing_ > 0 ? old_position_ : position_) - 1.0;
  const auto keep = filling_ ? written - std::min<uint64_t>(written, static_cast<uint64_t>(target) + count)
                             : static_cast<uint64_t>(std::max(0.0, oldest));
  if (keep > read_.load(std::memory_order_relaxed)) read_.store(keep, std::memory_order_release);
}

DriftRing::Stats DriftRing::stats() const noexcept {
  const auto relaxed = std::memory_order_relaxed;
  return {starved_.load(relaxed), skips_.load(relaxed),   lost_.load(relaxed),
          ppm_.load(relaxed),     waiting_.load(relaxed), static_cast<float>(target_.load(relaxed))};
}

}  // namespace rtlive
