// A gain on its way to another in a straight line, so that nothing clicks.
#pragma once
#include <algorithm>
#include <cstdint>

namespace rtlive {

class Glide {
 public:
  explicit Glide(float value) : value_(value), target_(value) {}
  void go(float target, uint32_t frames) noexcept {
    if (target == target_) return;
    target_ = target;
    left_ = std::max(1u, frames);
    step_ = (target - value_) / static_cast<float>(left_);
  }
  float next() noexcept {
    if (left_ > 0) value_ = --left_ == 0 ? target_ : value_ + step_;
    return value_;
  }
  bool resting_at(float value) const noexcept { return left_ == 0 && value_ == value; }

 private:
  float value_, target_, step_ = 0.0f;
  uint32_t left_ = 0;
};

}  // namespace rtlive
