#include "stream/resampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

namespace rtstream {
namespace {

constexpr int kHalfNumerator = 85,
              kHalfDenominator = 2;     // periods of the slower rate; rtserver/latency.py has them too
constexpr double kCutoff = 7.5 / 16.0;  // middle of the transition, of the slower rate
constexpr double kBeta = 8.3;           // Kaiser: 0.1102 * (84 dB - 8.7)
// Up to this many phases are tabulated; more (44,101 Hz has 16,000) are interpolated between 1,024 steps, linearly:
// the error is below (2.95 / 1024)^2 / 8 of a tap, -120 dB.
constexpr int kMaxPhases = 2048;
constexpr int kSteps = 1024;

double bessel_i0(double x) {
  double sum = 1.0, term = 1.0;
  for (int k = 1; term > sum * 1e-17; ++k) {
    term *= (x / (2.0 * k)) * (x / (2.0 * k));
    sum += term;
  }
  return sum;
}

// Fixed order of additions: sixteen partial sums, then a tree. `a` and `b` need no alignment.
float dot(const float* a, const float* b, int n) noexcept {
  float sums[16] = {};
  int j = 0;
  for (; j + 16 <= n; j += 16)
    for (int k = 0; k < 16; ++k) sums[k] += a[j + k] * b[j + k];
  for (int k = 0; j + k < n; ++k) sums[k] += a[j + k] * b[j + k];
  for (int width = 8; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) sums[k] += sums[k + width];
  return sums[0];
}

void check_rate(int rate_hz) {
  if (rate_hz < 8000 || rate_hz > 384000)
    throw std::invalid_argument("sample rate: expected 8000 to 384000 Hz, found " + std::to_string(rate_hz));
}

}  // namespace

int Resampler::half_length(int in_rate_hz, int out_rate_hz) {
  check_rate(in_rate_hz);
  check_rate(out_rate_hz);
  if (in_rate_hz == out_rate_hz) return 0;
  const int64_t numerator = int64_t{kHalfNumerator} * in_rate_hz;
  const int64_t denominator = int64_t{kHalfDenominator} * std::min(in_rate_hz, out_rate_hz);
  return static_cast<int>((numerator + denominator - 1) / denominator);
}

std::shared_ptr<const Resampler::Table> Resampler::table_for(int up, int down, int half, double half_exact,
                                                             double cutoff) {
  (void)down;
  auto table = std::make_shared<Table>();
  table->interpolated = up > kMaxPhases;
  const int phases = table->interpolated ? kSteps : up;
  table->rows = table->interpolated ? kSteps + 1 : up;
  const int taps = 2 * half;
  table->taps.resize(static_cast<size_t>(table->rows) * taps);
  std::vector<double> row(taps);
  const double scale = 1.0 / bessel_i0(kBeta);
  for (int r = 0; r < table->rows; ++r) {
    double sum = 0.0;
    for (int j = 0; j < taps; ++j) {
      const double d = static_cast<double>(r) / phases + (half - 1 - j);  // from tap to output, input frames
      const double u = d / half_exact;
      const double x = 2.0 * cutoff * d * 3.14159265358979323846;
      const double sinc = std::abs(x) < 1e-12 ? 1.0 : std::sin(x) / x;
      row[j] = std::abs(u) < 1.0 ? sinc * bessel_i0(kBeta * std::sqrt(1.0 - u * u)) * scale : 0.0;
      sum += row[j];
    }
    // Each phase has unit gain at DC, so a constant stays a constant.
    for (int j = 0; j < taps; ++j) table->taps[static_cast<size_t>(r) * taps + j] = static_cast<float>(row[j] / sum);
  }
  return table;
}

Resampler::Resampler(int in_rate_hz, int out_rate_hz) : half_(half_length(in_rate_hz, out_rate_hz)) {
  const int common = std::gcd(in_rate_hz, out_rate_hz);
  up_ = out_rate_hz / common;
  down_ = in_rate_hz / common;
  if (half_ > 0) {
    const double slower = std::min(in_rate_hz, out_rate_hz);
    table_ = table_for(up_, down_, half_, in_rate_hz / slower * kHalfNumerator / kHalfDenominator,
                       kCutoff * slower / in_rate_hz);
  }
  history_.assign(static_cast<size_t>(2 * half_ + kMaxPush + 64), 0.0f);
  reset();
}

int Resampler::max_output(int input_frames) const noexcept {
  return static_cast<int>((int64_t{input_frames} * up_ + down_ - 1) / down_) + 1;
}

uint64_t Resampler::outputs_after(uint64_t input_frames) const noexcept {
  const uint64_t half = static_cast<uint64_t>(half_);
  if (input_frames <= half) return 0;
  return ((input_frames - half) * static_cast<uint64_t>(up_) + down_ - 1) / down_;
}

void Resampler::reset() noexcept {
  // The stream is preceded by silence: output 0 has its first tap at input frame 1 - half.
  held_ = std::max(half_ - 1, 0);
  std::fill(history_.begin(), history_.begin() + held_, 0.0f);
  pushed_ = emitted_ = 0;
  cursor_ = 0;
  phase_ = 0;
}

float Resampler::output_at(const float* window) const noexcept {
  const int taps = 2 * half_;
  if (!table_->interpolated) return dot(table_->taps.data() + static_cast<size_t>(phase_) * taps, window, taps);
  const int64_t scaled = int64_t{phase_} * kSteps;
  const int64_t step = scaled / up_;
  const float fraction = static_cast<float>(scaled % up_) / static_cast<float>(up_);
  const float* row = table_->taps.data() + static_cast<size_t>(step) * taps;
  const float below = dot(row, window, taps);
  const float above = dot(row + taps, window, taps);
  return below + fraction * (above - below);
}

int Resampler::drain(float* out, uint64_t limit) noexcept {
  const int taps = 2 * half_;
  int count = 0;
  while (emitted_ < limit && cursor_ + taps <= held_) {
    out[count++] = output_at(history_.data() + cursor_);
    ++emitted_;
    phase_ += down_;
    cursor_ += phase_ / up_;
    phase_ %= up_;
  }
  // Keep from the next output's first tap on. A cursor beyond what is held (downsampling) waits for input.
  const int drop = std::min(cursor_, held_);
  std::memmove(history_.data(), history_.data() + drop, static_cast<size_t>(held_ - drop) * sizeof(float));
  held_ -= drop;
  cursor_ -= drop;
  return count;
}

int Resampler::push(const float* in, int frames, float* out) noexcept {
  pushed_ += static_cast<uint64_t>(frames);
  if (half_ == 0) {
    std::memcpy(out, in, static_cast<size_t>(frames) * sizeof(float));
    emitted_ += static_cast<uint64_t>(frames);
    return frames;
  }
  std::memcpy(history_.data() + held_, in, static_cast<size_t>(frames) * sizeof(float));
  held_ += frames;
  return drain(out, UINT64_MAX);
}

uint64_t Resampler::pass_over(int frames) noexcept {
  pushed_ += static_cast<uint64_t>(frames);
  const uint64_t left_out = outputs_after(pushed_) - emitted_;
  emitted_ += left_out;
  if (half_ == 0) return left_out;
  const int64_t moved = phase_ + static_cast<int64_t>(left_out) * down_;
  phase_ = static_cast<int>(moved % up_);
  int cursor = cursor_ + static_cast<int>(moved / up_) - frames;
  // Downsampling, the next output may begin a little before what has been kept.
  for (; cursor < 0; ++cursor) {
    std::memmove(history_.data() + 1, history_.data(), static_cast<size_t>(held_) * sizeof(float));
    ++held_;
  }
  cursor_ = cursor;
  return left_out;
}

int Resampler::flush(float* out) noexcept {
  if (half_ == 0) return 0;
  const uint64_t total = (pushed_ * static_cast<uint64_t>(up_) + down_ - 1) / down_;
  int count = 0;
  // Silence until something comes out; a few rounds at most when the next output lies far ahead.
  while (emitted_ < total && count == 0) {
    std::fill_n(history_.data() + held_, kMaxPush, 0.0f);
    held_ += kMaxPush;
    count = drain(out, total);
  }
  return count;
}

}  // namespace rtstream
