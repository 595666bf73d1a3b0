// How a record of weights (pack.h) is stored in each precision: kParts words of 16 bytes a lane, which give for each of
// the kMatrices rows the weights of the lane's two columns, as float32.
#pragma once

#include "cuda/lanes.h"

namespace rtcuda {

struct HalfFormat {  // IEEE half precision
  static constexpr int kParts = 2;
  RTCUDA_DEVICE static void pair(const Quad* parts, int matrix, const float*, Floats& a, Floats& b) {
    const Words word = parts[matrix / 4].w[matrix % 4];
    a = half_of(word & 0xFFFFu);
    b = half_of(word >> 16);
  }
};

struct Bf16Format {
  static constexpr int kParts = 2;
  RTCUDA_DEVICE static void pair(const Quad* parts, int matrix, const float*, Floats& a, Floats& b) {
    const Words word = parts[matrix / 4].w[matrix % 4];
    a = float_of(word << 16);
    b = float_of(word & 0xFFFF0000u);
  }
};

struct FloatFormat {
  static constexpr int kParts = 4;
  RTCUDA_DEVICE static void pair(const Quad* parts, int matrix, const float*, Floats& a, Floats& b) {
    a = float_of(parts[matrix / 2].w[matrix % 2 * 2]);
    b = float_of(parts[matrix / 2].w[matrix % 2 * 2 + 1]);
  }
};

struct ByteFormat {  // code + 128 in each byte, a scale a row
  static constexpr int kParts = 1;
  RTCUDA_DEVICE static void pair(const Quad* parts, int matrix, const float* scales, Floats& a, Floats& b) {
    const Words word = parts[0].w[matrix / 2] >> (matrix % 2 * 16);
    a = (to_float(to_signed(word & 0xFFu)) - 128.0f) * scales[matrix];
    b = (to_float(to_signed(word >> 8 & 0xFFu)) - 128.0f) * scales[matrix];
  }
};

}  // namespace rtcuda
