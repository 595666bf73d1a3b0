#include "cpu/linear_prediction.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/companding.h"

namespace rtengine {
namespace {

constexpr int kLanes = 32;  // independent sums, which compilers keep in vectors
constexpr double kPi = 3.14159265358979323846;

// Sum of a[i] b[i]; n is a multiple of kLanes.
float dot(const float* a, const float* b, int n) noexcept {
  float sums[kLanes] = {};
  for (int i = 0; i < n; i += kLanes)
    for (int k = 0; k < kLanes; ++k) sums[k] += a[i + k] * b[i + k];
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int k = 0; k < step; ++k) sums[k] += sums[k + step];
  return sums[0];
}

}  // namespace

LinearPredictor::LinearPredictor(int order)
    : order_(order),
      lags_(lags_of(order)),
      window_(std::make_unique<float[]>(kPredictionWindow)),
      history_(std::make_unique<float[]>(kPredictionWindow + kPredictionRenewal)),
      windowed_(std::make_unique<float[]>(static_cast<std::size_t>(lags_ + kPredictionWindow))),
      taps_(std::make_unique<float[]>(static_cast<std::size_t>(lags_))),
      autocorrelation_(std::make_unique<double[]>(static_cast<std::size_t>(order) + 1)),
      polynomial_(std::make_unique<double[]>(static_cast<std::size_t>(order) + 1)),
      previous_(std::make_unique<double[]>(static_cast<std::size_t>(order) + 1)) {
  constexpr int rise = kPredictionWindow - kPredictionTaper;
  for (int i = 0; i < rise; ++i) window_[i] = static_cast<float>(std::sin(0.5 * kPi * (i + 0.5) / rise));
  for (int i = 0; i < kPredictionTaper; ++i)
    window_[rise + i] = static_cast<float>(std::cos(0.5 * kPi * (i + 0.5) / kPredictionTaper));
  reset();
}

void LinearPredictor::reset() noexcept {
  std::fill_n(history_.get(), kPredictionWindow + kPredictionRenewal, 0.0f);
  std::fill_n(taps_.get(), lags_, 0.0f);
  filled_ = 0;
}

// Autocorrelation of the windowed past, and Levinson and Durbin's recursion for the coefficients.
void LinearPredictor::renew() noexcept {
  float* const x = windowed_.get() + lags_;  // zeros before it
  for (int i = 0; i < kPredictionWindow; ++i) x[i] = history_[i] * window_[i];
  double* const r = autocorrelation_.get();
  for (int lag = 0; lag <= order_; ++lag) r[lag] = dot(x, x - lag, kPredictionWindow);
  r[0] = r[0] * (1.0 + kPredictionWhite) + kPredictionFloor;

  double* const a = polynomial_.get();
  double* const before = previous_.get();
  std::fill_n(a, order_ + 1, 0.0);
  double error = r[0];
  for (int k = 1; k <= order_; ++k) {
    double sum = r[k];
    for (int j = 1; j < k; ++j) sum -= a[j] * r[k - j];
    const double reflection = sum / error;
    std::copy_n(a, k, before);
    for (int j = 1; j < k; ++j) a[j] -= reflection * before[k - j];
    a[k] = reflection;
    error *= 1.0 - reflection * reflection;
  }
  for (int k = 1; k <= order_; ++k) taps_[lags_ - k] = static_cast<float>(a[k]);
}

float LinearPredictor::predict() noexcept {
  if (filled_ == kPredictionRenewal) {
    std::memmove(history_.get(), history_.get() + kPredictionRenewal, kPredictionWindow * sizeof(float));
    filled_ = 0;
  }
  if (filled_ == 0) renew();
  const float* const next = history_.get() + kPredictionWindow + filled_;
  return std::clamp(dot(taps_.get(), next - lags_, lags_), -1.0f, 1.0f);
}

void LinearPredictor::push(float sample) noexcept { history_[kPredictionWindow + filled_++] = sample; }

void predictions(int order, const float* past, std::int64_t samples, float* ahead) {
  LinearPredictor predictor(order);
  for (std::int64_t t = 0; t < samples; ++t) {
    ahead[t] = companded(predictor.predict());
    predictor.push(expanded(past[t]));
  }
}

}  // namespace rtengine
