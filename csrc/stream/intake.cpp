#include "stream/intake.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "cpu/companding.h"
#include "cpu/float_mode.h"

namespace rtstream {
namespace {
constexpr float kLoudest = 1e6f;          // 120 dB over full scale: keeps the filter's sums finite
constexpr float kRelease = 0.99875078f;   // envelope falls by 1/e in 50 ms
constexpr float kHysteresis = 0.5f;       // closes 6 dB below where it opens
constexpr float kOpenStep = 1.0f / 16;    // 1 ms
constexpr float kCloseStep = 1.0f / 320;  // 20 ms
}  // namespace

Intake::Intake(int rate_hz, int channels, int hop_samples, Encoding encoding)
    : channels_(channels),
      hop_samples_(hop_samples),
      encoding_(encoding),
      resampler_(rate_hz, kNetworkRateHz),
      mu_law_(encoding),
      output_half_(Resampler::half_length(kNetworkRateHz, rate_hz)),
      rate_hz_(rate_hz) {
  if (channels < 1 || channels > 256)
    throw std::invalid_argument("channels: expected 1 to 256, found " + std::to_string(channels));
  if (hop_samples < 1 || hop_samples > 65536)
    throw std::invalid_argument("hop_samples: expected 1 to 65536, found " + std::to_string(hop_samples));
  mono_.resize(kMaxPush);
  resampled_.resize(static_cast<size_t>(resampler_.max_output(kMaxPush)));
  waiting_.resize(resampled_.size() + static_cast<size_t>(hop_samples) + 1);
  reset();
}

void Intake::reset() noexcept {
  resampler_.reset();
  pushed_ = taken_ = end_ = 0;
  held_ = position_in_hop_ = 0;
  gain_ = gain_target_;
  gain_step_ = 0.0f;
  open_ = false;
  envelope_ = 0.0f;
  gate_gain_ = gate_db_ > kGateOffDb ? 0.0f : 1.0f;
}

void Intake::set_input_gain_db(float db) noexcept {
  if (std::isnan(db)) return;
  gain_target_ = db == 0.0f ? 1.0f : std::pow(10.0f, std::clamp(db, -60.0f, 24.0f) / 20.0f);
}

void Intake::set_gate_db(float db) noexcept {
  if (std::isnan(db)) return;
  gate_db_ = std::clamp(db, kGateOffDb, 0.0f);
}

float Intake::gate(float sample) noexcept {
  envelope_ = std::max(std::abs(sample), envelope_ * kRelease);
  open_ = envelope_ >= (open_ ? open_level_ * kHysteresis : open_level_);
  gate_gain_ = open_ ? std::min(1.0f, gate_gain_ + kOpenStep) : std::max(0.0f, gate_gain_ - kCloseStep);
  return sample * gate_gain_;
}

void Intake::take(float sample) noexcept {
  if (position_in_hop_ == 0) {
    gain_step_ = (gain_target_ - gain_) / static_cast<float>(hop_samples_);
    gating_ = gate_db_ > kGateOffDb;
    open_level_ = std::pow(10.0f, gate_db_ / 20.0f);
  }
  if (gain_step_ != 0.0f) {
    gain_ += gain_step_;
    if (position_in_hop_ == hop_samples_ - 1) gain_ = gain_target_;
  }
  if (gain_ != 1.0f) sample *= gain_;
  if (gating_)
    sample = gate(sample);
  else
    gate_gain_ = 1.0f;
  waiting_[held_++] = sample;
  ++taken_;
  if (++position_in_hop_ == hop_samples_) position_in_hop_ = 0;
}

void Intake::push(const float* frames, int count) noexcept {
  const rtengine::ScopedFloatMode float_mode;
  pushed_ += static_cast<uint64_t>(count);
  for (int i = 0; i < count; ++i) {
    float sum = 0.0f;
    for (int c = 0; c < channels_; ++c) {
      const float x = frames[i * channels_ + c];
      sum += std::isfinite(x) ? std::clamp(x, -kLoudest, kLoudest) : 0.0f;
    }
    mono_[i] = sum / static_cast<float>(channels_);
  }
  const int n = resampler_.push(mono_.data(), count, resampled_.data());
  for (int i = 0; i < n; ++i) take(resampled_[i]);
}

bool Intake::pop_hop(float* hop) noexcept {
  if (held_ < hop_samples_) return false;
  if (encoding_ == Encoding::kLinear) {
    std::memcpy(hop, waiting_.data(), static_cast<size_t>(hop_samples_) * sizeof(float));
  } else {
    for (int i = 0; i < hop_samples_; ++i) hop[i] = rtengine::network_input(mu_law_.encode(waiting_[i]));
  }
  held_ -= hop_samples_;
  std::memmove(waiting_.data(), waiting_.data() + hop_samples_, static_cast<size_t>(held_) * sizeof(float));
  return true;
}

bool Intake::finish(int lookahead_samples) noexcept {
  const rtengine::ScopedFloatMode float_mode;
  if (pushed_ == 0) return false;
  if (end_ == 0) {
    const uint64_t hop = static_cast<uint64_t>(hop_samples_);
    const uint64_t last = (pushed_ - 1) * kNetworkRateHz / static_cast<uint64_t>(rate_hz_);
    const uint64_t needed = last + static_cast<uint64_t>(output_half_) + 1;
    const uint64_t ahead = (static_cast<uint64_t>(lookahead_samples) + hop - 1) / hop;
    end_ = ((needed + hop - 1) / hop + ahead) * hop;
  }
  if (taken_ == end_) return false;
  std::fill(mono_.begin(), mono_.end(), 0.0f);
  const int n = resampler_.push(mono_.data(), kMaxPush, resampled_.data());
  for (int i = 0; i < n && taken_ < end_; ++i) take(resampled_[i]);
  return true;
}

}  // namespace rtstream
