// What a network's next step is led by: the codes so far, and of a decoder with linear prediction a guess at the next
// one, which its classes then count from.
#pragma once

#include <cstdint>
#include <memory>

#include "cpu/companding.h"
#include "cpu/decoder_config.h"
#include "cpu/linear_prediction.h"

namespace rtengine {

class CodeHistory {
 public:
  // [control thread] prediction_order: as in DecoderConfig.
  explicit CodeHistory(int prediction_order)
      : predictor_(prediction_order > 0 ? std::make_unique<LinearPredictor>(prediction_order) : nullptr) {}

  // [audio thread, wait-free] As it was made.
  void reset() noexcept {
    older_ = newer_ = 0.0f;
    if (predictor_) predictor_->reset();
  }

  // [audio thread, wait-free] Once before each step, whose inputs `older` and `newer` then are.
  void look_ahead() noexcept {
    if (predictor_) older_ = companded(predictor_->predict());
  }
  float older() const noexcept { return older_; }
  float newer() const noexcept { return newer_; }

  // [audio thread, wait-free] The code that a class of this step stands for.
  std::uint8_t code(int class_index) const noexcept {
    return static_cast<std::uint8_t>(predictor_ ? class_index + nearest_code(older_) - kClasses / 2 : class_index);
  }

  // [audio thread, wait-free] The code that was taken.
  void push(std::uint8_t code) noexcept {
    const float input = network_input(code);
    if (predictor_)
      predictor_->push(expanded(input));
    else
      older_ = newer_;
    newer_ = input;
  }

 private:
  std::unique_ptr<LinearPredictor> predictor_;
  float older_ = 0.0f, newer_ = 0.0f;  // network inputs of the sample at t - 2, or of what is predicted; at t - 1
};

}  // namespace rtengine
