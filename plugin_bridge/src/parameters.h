// The parameters of a session as fields of the shared memory: ranges, clamping, reading and writing.
#pragma once
#include <cstddef>

#include "rtbridge/bridge.h"

namespace rtbridge {

struct Range {
  double low, high, initial;
};
inline constexpr Range kRanges[static_cast<size_t>(Param::kCount)] = {
    {0.0, 1.0, 1.0},           // mix
    {-60.0, 24.0, 0.0},        // output gain
    {-60.0, 24.0, 0.0},        // input gain
    {-90.0, 0.0, -90.0},       // gate
    {0.0, 2.0, 1.0},           // temperature
    {0.0, 1.0, 0.0},           // bypass
    {0.0, 1.0, 0.0},           // fallback
    {0.0, 4095.0, 0.0},        // decoder
    {0.0, 1.8446744e19, 0.0},  // seed
    {0.0, 4294967295.0, 0.0},  // panic
};

constexpr size_t index(Param param) { return static_cast<size_t>(param); }

// Into the range; NaN becomes the initial value.
float clamped(Param param, float value) noexcept;
// The seed is not a float and has its own field; the others are stored relaxed. [any thread, wait-free]
void write_field(rt_header& h, Param param, double value) noexcept;
double read_field(const rt_header& h, Param param) noexcept;

}  // namespace rtbridge
