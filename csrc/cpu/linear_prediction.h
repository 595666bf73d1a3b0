// A guess at the next sample from those before it, for a decoder that says how far off it is: linear prediction whose
// coefficients follow the signal itself, renewed from what was played (as in LD-CELP, Chen et al. 1992, with another
// window).
#pragma once

#include <cstdint>
#include <memory>

namespace rtengine {

inline constexpr int kPredictionWindow = 1024;    // samples that coefficients are made of: 64 ms
inline constexpr int kPredictionTaper = 128;      // the newest of them count less and less
inline constexpr int kPredictionRenewal = 160;    // samples between two sets of coefficients
inline constexpr double kPredictionWhite = 1e-3;  // white noise that is thought to be in the signal, of its energy
inline constexpr double kPredictionFloor = 1e-7;  // and its energy in a window at least: silence predicts silence

class LinearPredictor {
 public:
  // [control thread] order: samples that a prediction looks back, 1 to kPredictionWindow.
  explicit LinearPredictor(int order);

  // [audio thread, wait-free] As it was made: silence came before.
  void reset() noexcept;

  // [audio thread, wait-free] The next sample, in [-1, 1]. Every kPredictionRenewal samples this is where the
  // coefficients are renewed.
  float predict() noexcept;

  // [audio thread, wait-free] What it was.
  void push(float sample) noexcept;

  // Between `predict` and `push`: the prediction is clamp(sum of taps()[i] recent()[i], -1, 1) over lags(), a multiple
  // of 32, and stays so with the same taps for renewal_in() samples.
  static int lags_of(int order) noexcept { return (order + 31) / 32 * 32; }
  int lags() const noexcept { return lags_; }
  const float* taps() const noexcept { return taps_.get(); }
  const float* recent() const noexcept { return history_.get() + kPredictionWindow + filled_ - lags_; }
  int renewal_in() const noexcept { return kPredictionRenewal - filled_ % kPredictionRenewal; }

 private:
  void renew() noexcept;

  int order_, lags_;                   // lags_: order_, and taps that are zero
  int filled_ = 0;                     // samples since the last renewal
  std::unique_ptr<float[]> window_;    // [kPredictionWindow]
  std::unique_ptr<float[]> history_;   // [kPredictionWindow + kPredictionRenewal], oldest first
  std::unique_ptr<float[]> windowed_;  // [lags_ + kPredictionWindow]: zeros, and the past times window_
  std::unique_ptr<float[]> taps_;      // [lags_], for the oldest sample first
  std::unique_ptr<double[]> autocorrelation_, polynomial_, previous_;
};

// ahead[t]: the network input of what is predicted at t from past [samples], network inputs, before it; from a fresh
// state.
void predictions(int order, const float* past, std::int64_t samples, float* ahead);

}  // namespace rtengine
