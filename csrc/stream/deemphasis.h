// The inverse of the pre-emphasis that a decoder was trained with (models/emphasis.py): x[n] = y[n] + a x[n - 1]. It
// makes what is constant 1 / (1 - a) times as large, and mu-law has no code for 0: a high pass of 10 Hz behind it,
// z[n] = x[n] - x[n - 1] + r z[n - 1], makes silence silent. Last stage of a voice, at 16 kHz.
#pragma once
#include <algorithm>

#include "cpu/float_mode.h"

namespace rtstream {

class Deemphasis {
 public:
  // a: from 0, which leaves every bit as it is, to less than 1.
  explicit Deemphasis(double a) : a_(a) {}

  void reset() noexcept { last_ = passed_ = 0.0; }

  // [render thread] samples [count] within [-1, 1], and they stay there: the output is clipped. The filters' state is
  // not, so that a peak that was clipped leaves no trace; it can't exceed 2 / (1 - a). In double, so that it is the
  // same after rounding whether a machine rounds the product or not.
  void run(float* samples, int count) noexcept {
    if (a_ == 0.0) return;
    const rtengine::ScopedFloatMode mode;
    for (int i = 0; i < count; ++i) {
      const double x = samples[i] + a_ * last_;
      passed_ = x - last_ + kHighPass * passed_;
      last_ = x;
      samples[i] = static_cast<float>(std::clamp(passed_, -1.0, 1.0));
    }
  }

 private:
  static constexpr double kHighPass = 0.996;  // r, 10 Hz; models/emphasis.py has it too

  double a_;
  double last_ = 0.0;    // x[n - 1]
  double passed_ = 0.0;  // z[n - 1]
};

}  // namespace rtstream
