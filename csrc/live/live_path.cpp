#include "live/live_path.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "cpu/float_mode.h"

namespace rtlive {
namespace {
constexpr uint32_t kMuteMs = 5, kHushMs = 1, kSilenceMs = 250, kReturnMs = 20, kCrossMs = 20;
constexpr float kLoudest = 16.0f;  // 24 dB over full scale: what is louder is no sound

uint32_t frames_of_ms(uint32_t ms, uint32_t rate_hz) noexcept { return std::max(1u, ms * rate_hz / 1000); }
}  // namespace

LivePath::LivePath(const LiveConfig& config, rtbridge::Bridge& bridge)
    : input_meter(config.rate_hz),
      output_meter(config.rate_hz),
      guard(config.rate_hz),
      limiter(config.rate_hz),
      tap(config.rate_hz / 2),
      takes(config.channels + std::min(kHeard, std::max(1u, config.output_channels)), 4 * config.rate_hz),
      config_(config),
      heard_(std::min(kHeard, std::max(1u, config.output_channels))),
      current_(&bridge) {
  const auto& b = bridge.config();
  if (b.sample_rate_hz != config.rate_hz || b.channels != config.channels || b.max_block_frames < config.max_block)
    throw std::invalid_argument("live: the bridge has another rate, other channels or smaller blocks");
  if (config.channels < 1 || config.channels > 2) throw std::invalid_argument("live: expected 1 or 2 channels");
  if (config.input_channels < 1 || config.output_channels < 1 || config.max_block < 1)
    throw std::invalid_argument("live: expected at least one channel of each device, and one frame");
  if (config.first_input >= config.input_channels) throw std::invalid_argument("live: the input has no such channel");
  if (config.drift_target > 0)
    drift_ = std::make_unique<DriftRing>(config.input_channels, config.rate_hz, config.drift_target);
  captured_.resize(size_t{config.max_block} * config.input_channels);
  dry_.resize(size_t{config.max_block} * config.channels);
  wet_.resize(dry_.size());
  coming_.resize(dry_.size());
  loud_.resize(size_t{config.max_block} * heard_);
}

void LivePath::duplex(const float* in, float* out, uint32_t count) noexcept {
  const rtengine::ScopedFloatMode float_mode;
  for (uint32_t done = 0; done < count;) {
    const uint32_t part = std::min(count - done, config_.max_block);
    process(in + size_t{done} * config_.input_channels, out + size_t{done} * config_.output_channels, part);
    done += part;
  }
}

void LivePath::playback(float* out, uint32_t count) noexcept {
  const rtengine::ScopedFloatMode float_mode;
  const uint64_t now = rtbridge::monotonic_ns();
  for (uint32_t done = 0; done < count;) {
    const uint32_t part = std::min(count - done, config_.max_block);
    drift_->pull(captured_.data(), part, now);
    process(captured_.data(), out + size_t{done} * config_.output_channels, part);
    done += part;
  }
}

void LivePath::pick(const float* in, uint32_t count) noexcept {
  const uint32_t channels = config_.channels;
  const uint32_t second = std::min(config_.first_input + 1, config_.input_channels - 1);
  for (uint32_t i = 0; i < count; ++i) {
    const float* frame = in + size_t{i} * config_.input_channels;
    for (uint32_t c = 0; c < channels; ++c) {
      const float x = frame[c == 0 ? config_.first_input : second];
      dry_[size_t{i} * channels + c] = std::isfinite(x) ? std::clamp(x, -kLoudest, kLoudest) : 0.0f;
    }
  }
}

void LivePath::translate(uint32_t count) noexcept {
  rtbridge::Bridge* next = next_.load(std::memory_order_acquire);
  current_->process(dry_.data(), wet_.data(), count);
  if (!next) return;
  next->process(dry_.data(), coming_.data(), count);
  // Before its first frame has come through, a new stream is silent: only then does it know what was played.
  const uint64_t from = next->config().latency_frames, over = frames_of_ms(kCrossMs, config_.rate_hz);
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t at = next_frames_ + i;
    const float weight =
        at < from ? 0.0f : std::min(1.0f, static_cast<float>(at - from + 1) / static_cast<float>(over));
    for (uint32_t c = 0; c < config_.channels; ++c) {
      const size_t k = size_t{i} * config_.channels + c;
      wet_[k] += weight * (coming_[k] - wet_[k]);
    }
  }
  next_frames_ += count;
  if (next_frames_ < from + over) return;
  current_ = next;
  next_frames_ = 0;
  next_.store(nullptr, std::memory_order_release);
}

void LivePath::process(const float* in, float* out, uint32_t count) noexcept {
  const uint32_t panics = panics_.load(std::memory_order_relaxed);
  if (panics != panics_seen_) {
    panics_seen_ = panics;
    current_->set_live(rtbridge::Param::kPanic, 1.0);
    hush_.go(0.0f, std::min(count, frames_of_ms(kHushMs, config_.rate_hz)));
    silent_left_ = count + frames_of_ms(kSilenceMs, config_.rate_hz);
  }
  pick(in, count);
  tap.add(dry_.data(), count, config_.channels);
  input_meter.add(dry_.data(), count, config_.channels);
  translate(count);

  // The guard listens to the first channel: a howl is in both.
  for (uint32_t i = 0; i < count; ++i) coming_[i] = dry_[size_t{i} * config_.channels];
  guard.heard(coming_.data(), count);
  for (uint32_t i = 0; i < count; ++i) {
    const float gain = guard.next_gain();
    for (uint32_t c = 0; c < heard_; ++c)
      loud_[size_t{i} * heard_ + c] = gain * wet_[size_t{i} * config_.channels + std::min(c, config_.channels - 1)];
  }
  limiter.process(loud_.data(), count, heard_);

  mute_.go(muted_.load(std::memory_order_relaxed) ? 0.0f : 1.0f, frames_of_ms(kMuteMs, config_.rate_hz));
  if (silent_left_ > 0) {
    silent_left_ -= std::min(silent_left_, count);
    if (silent_left_ == 0) hush_.go(1.0f, frames_of_ms(kReturnMs, config_.rate_hz));
  }
  for (uint32_t i = 0; i < count; ++i) {
    const float gain = mute_.next() * hush_.next();
    float* frame = &loud_[size_t{i} * heard_];
    for (uint32_t c = 0; c < heard_; ++c) frame[c] *= gain;
    guard.played(frame[0], limiter.last_gain() < 0.95f);
    for (uint32_t c = 0; c < config_.output_channels; ++c)
      out[size_t{i} * config_.output_channels + c] = c < heard_ ? frame[c] : 0.0f;
  }
  output_meter.add(loud_.data(), count, heard_);
  if (recording_.load(std::memory_order_relaxed)) takes.write(dry_.data(), config_.channels, loud_.data(), count);
}

bool LivePath::switch_to(rtbridge::Bridge& next) noexcept {
  if (!settled()) return false;
  next_.store(&next, std::memory_order_release);
  return true;
}

void LivePath::note_call(uint32_t count, unsigned long flags, double adc_s, double dac_s, uint64_t began_ns) noexcept {
  const auto relaxed = std::memory_order_relaxed;
  const uint64_t now = rtbridge::monotonic_ns();
  calls.add(began_ns, count);
  const float took_us = static_cast<float>(now - began_ns) * 1e-3f;
  if (static_cast<double>(took_us) * config_.rate_hz > 1e6 * count) overruns_.fetch_add(1, relaxed);
  if (took_us > longest_us_.load(relaxed)) longest_us_.store(took_us, relaxed);
  if (count > largest_block_.load(relaxed)) largest_block_.store(count, relaxed);
  if (adc_s > 0.0 && dac_s > adc_s) device_latency_s_.store(dac_s - adc_s, relaxed);
  for (int i = 0; i < 4; ++i)
    if (flags & (1ul << i)) xruns_[i].fetch_add(1, relaxed);
  calls_.fetch_add(1, relaxed);
  frames_.fetch_add(count, relaxed);
  last_call_ns_.store(now, relaxed);
}

void LivePath::note_capture(uint32_t count, unsigned long flags) noexcept {
  captures.add(rtbridge::monotonic_ns(), count);
  for (int i = 0; i < 2; ++i)
    if (flags & (1ul << i)) xruns_[i].fetch_add(1, std::memory_order_relaxed);
}

CallbackStats LivePath::stats() const noexcept {
  const auto relaxed = std::memory_order_relaxed;
  CallbackStats s;
  s.calls = calls_.load(relaxed);
  s.frames = frames_.load(relaxed);
  s.input_underflows = xruns_[0].load(relaxed);
  s.input_overflows = xruns_[1].load(relaxed);
  s.output_underflows = xruns_[2].load(relaxed);
  s.output_overflows = xruns_[3].load(relaxed);
  s.last_call_ns = last_call_ns_.load(relaxed);
  s.overruns = overruns_.load(relaxed);
  s.largest_block = largest_block_.load(relaxed);
  s.device_latency_s = device_latency_s_.load(relaxed);
  return s;
}

}  // namespace rtlive
