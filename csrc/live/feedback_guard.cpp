#include "live/feedback_guard.h"

#include <algorithm>
#include <cmath>

namespace rtlive {
namespace {

constexpr float kSilentDb = -120.0f;
constexpr float kLoudOutDb = -34.0f, kLoudInDb = -40.0f;  // below that a howl disturbs nobody, and grows
constexpr float kEnvelopeFallDb = 0.15f;                  // a window: 30 dB a second
constexpr float kGrowthDb = 1.0f;    // from each quarter of the look-back (80 ms) to the next, at least
constexpr float kPinnedDb = -14.0f;  // a howl that something clips neither grows nor falls
constexpr float kPinnedRangeDb = 4.0f;
constexpr int kPinnedWindows = 32;  // 160 ms
constexpr float kClippedSample = 0.97f;
constexpr float kFollowDb = 4.0f;                       // the input fell by so much because the output did
constexpr int kSettleWindows = 16, kProbeWindows = 36;  // 80 ms to come round, 100 ms to compare with as much before
constexpr int kCompareWindows = kProbeWindows - kSettleWindows;
constexpr int kDuckWindows = 60;  // 300 ms
constexpr float kDuckDb = -60.0f, kTrimStepDb = 6.0f, kDeepestTrimDb = -48.0f;
constexpr float kTrimReturnDb = 0.005f;                       // a window: 1 dB a second
constexpr int kFirstPatience = 200, kLongestPatience = 6000;  // 1 s, 30 s

float decibels(float power) noexcept { return power > 1e-12f ? 10.0f * std::log10(power) : kSilentDb; }
float factor(float db) noexcept { return std::pow(10.0f, db / 20.0f); }

}  // namespace

FeedbackGuard::FeedbackGuard(uint32_t rate_hz)
    : rate_hz_(rate_hz),
      window_frames_(std::max(1u, static_cast<uint32_t>(static_cast<float>(rate_hz) * kWindowMs / 1000.0f))),
      next_patience_(kFirstPatience) {}

void FeedbackGuard::heard(const float* in, uint32_t count) noexcept {
  for (uint32_t i = 0; i < count; ++i) {
    in_power_ += in[i] * in[i];
    clipped_ |= std::abs(in[i]) >= kClippedSample;
    if (++in_window_ < window_frames_) continue;
    // A window of the input may end before any block went out: then what went out last is still the newest known.
    const float out_db = out_frames_ > 0 ? decibels(out_power_ / static_cast<float>(out_frames_)) : back(0).out_db;
    window(decibels(in_power_ / static_cast<float>(window_frames_)), out_db);
    in_power_ = out_power_ = 0.0f;
    in_window_ = out_frames_ = 0;
    clipped_ = false;
  }
}

float FeedbackGuard::next_gain() noexcept {
  if (gain_ != target_) {
    gain_ += step_;
    if ((step_ < 0.0f) == (gain_ < target_)) gain_ = target_;
  }
  return gain_;
}

void FeedbackGuard::aim(float db, float milliseconds) noexcept {
  target_ = db == 0.0f ? 1.0f : factor(db);
  step_ = (target_ - gain_) / std::max(1.0f, milliseconds * 0.001f * static_cast<float>(rate_hz_));
  gain_told_.store(db, std::memory_order_relaxed);
}

void FeedbackGuard::enter(State state) noexcept {
  state_ = state;
  elapsed_ = 0;
}

bool FeedbackGuard::growing() const noexcept {
  constexpr int kQuarter = kWindows / 4;
  float peak[4];  // oldest first
  for (int q = 0; q < 4; ++q) {
    peak[q] = kSilentDb;
    for (int i = 0; i < kQuarter; ++i) peak[q] = std::max(peak[q], back((3 - q) * kQuarter + i).envelope_db);
  }
  if (peak[3] < kLoudInDb) return false;
  for (int q = 1; q < 4; ++q)
    if (peak[q] - peak[q - 1] < kGrowthDb) return false;
  return true;
}

bool FeedbackGuard::pinned() const noexcept {
  float lowest = 0.0f, highest = kSilentDb;
  int clipped = 0;
  for (int i = 0; i < kPinnedWindows; ++i) {
    lowest = std::min(lowest, back(i).envelope_db);
    highest = std::max(highest, back(i).envelope_db);
    clipped += back(i).clipped;
  }
  return lowest > kPinnedDb && highest - lowest < kPinnedRangeDb && clipped >= kPinnedWindows / 8;
}

bool FeedbackGuard::suspicious() const noexcept {
  float out_db = kSilentDb;
  for (int i = 0; i < kWindows / 4; ++i) out_db = std::max(out_db, back(i).out_db);
  if (out_db < kLoudOutDb) return false;
  return (filled_ >= kWindows && growing()) || (filled_ >= kPinnedWindows && pinned());
}

void FeedbackGuard::window(float in_db, float out_db) noexcept {
  const float envelope = std::max(in_db, back(0).envelope_db - kEnvelopeFallDb);
  head_ = (head_ + 1) % kWindows;
  windows_[static_cast<size_t>(head_)] = {in_db, envelope, out_db, clipped_};
  filled_ = std::min(filled_ + 1, kWindows);
  ++elapsed_;
  const auto loudest = [&](int windows) {
    float db = kSilentDb;
    for (int i = 0; i < windows; ++i) db = std::max(db, back(i).in_db);
    return db;
  };
  if (!enabled_.load(std::memory_order_relaxed)) {
    if (state_ != State::kListening || trim_db_ != 0.0f) {
      trim_db_ = 0.0f;
      aim(0.0f, 100.0f);
      enter(State::kListening);
    }
    return;
  }
  switch (state_) {
    case State::kListening:
      if (trim_db_ < 0.0f && elapsed_ > kDuckWindows) {
        trim_db_ = std::min(0.0f, trim_db_ + kTrimReturnDb);
        aim(trim_db_, kWindowMs);
      }
      if (patience_ > 0) {
        --patience_;
      } else if (suspicious()) {
        probes_.fetch_add(1, std::memory_order_relaxed);
        before_db_ = loudest(kCompareWindows);
        aim(trim_db_ + kProbeDb, 5.0f);
        enter(State::kProbing);
      }
      return;
    case State::kProbing:
      if (elapsed_ < kProbeWindows) return;
      if (loudest(kCompareWindows) < before_db_ - kFollowDb || pinned()) {
        howls_.fetch_add(1, std::memory_order_relaxed);
        trim_db_ = std::max(kDeepestTrimDb, trim_db_ - kTrimStepDb);
        next_patience_ = kFirstPatience;
        aim(kDuckDb, 20.0f);
        enter(State::kDucked);
      } else {
        patience_ = next_patience_;
        next_patience_ = std::min(2 * next_patience_, kLongestPatience);
        aim(trim_db_, 60.0f);
        enter(State::kListening);
      }
      return;
    case State::kDucked:
      if (elapsed_ < kDuckWindows) return;
      filled_ = 0;
      aim(trim_db_, 300.0f);
      enter(State::kListening);
  }
}

}  // namespace rtlive
