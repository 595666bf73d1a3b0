// Codes, network inputs and signals: rounded mu-law, with and without its rounding. The same on a GPU.
#pragma once

#include <math.h>

#include <cstdint>

#include "cpu/shared_code.h"

namespace rtengine {

inline constexpr float kMu = 255.0f;

// Network input of a code: code / 255 - 0.5 (as published). And the nearest code of a network input.
RTENGINE_SHARED inline float network_input(std::uint8_t code) noexcept {
  return static_cast<float>(code) / 255.0f - 0.5f;
}
RTENGINE_SHARED inline int nearest_code(float input) noexcept {
  return static_cast<int>((input + 0.5f) * 255.0f + 0.5f);
}

// Signal in [-1, 1] of a network input, clamped to [-0.5, 0.5]; and back.
RTENGINE_SHARED inline float expanded(float input) noexcept {
  const float companded = 2.0f * fminf(fmaxf(input, -0.5f), 0.5f);
  return copysignf((powf(1.0f + kMu, fabsf(companded)) - 1.0f) / kMu, companded);
}
RTENGINE_SHARED inline float companded(float signal) noexcept {
  constexpr float kScale = 0.5f / 5.545177444479562f;  // log(256)
  return copysignf(log1pf(kMu * fabsf(signal)) * kScale, signal);
}

}  // namespace rtengine
