// The inverse of the pre-emphasis that a decoder was trained with (models/emphasis.py): x[n] = y[n] + a x[n - 1].
// Last stage of a voice, at 16 kHz.
#pragma once
#include <algorithm>

#include "cpu/float_mode.h"

namespace rtstream {

class Deemphasis {
 public:
  // a: from 0, which leaves every bit as it is, to less than 1.
  explicit Deemphasis(double a) : a_(a) {}

  void reset() noexcept { last_ = 0.0; }

  // [render thread] samples [count] within [-1, 1], and they stay there: the output is clipped. The filter's state is
  // not, so that a peak that was clipped leaves no trace; it can't exceed 1 / (1 - a). In double, so that it is the
  // same after rounding whether a machine rounds the product or not.
  void run(float* samples, int count) noexcept {
    if (a_ == 0.0) return;
    const rtengine::ScopedFloatMode mode;
    for (int i = 0; i < count; ++i) {
      last_ = samples[i] + a_ * last_;
      samples[i] = static_cast<float>(std::clamp(last_, -1.0, 1.0));
    }
  }

 private:
  double a_;
  double last_ = 0.0;  // x[n - 1]
};

}  // namespace rtstream
