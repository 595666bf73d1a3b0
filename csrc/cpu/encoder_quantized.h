// The weights of an encoder in int8, before any packing.
//
// Numbers. The residual stream is float32; what a convolution reads of it is quantized once a layer, in units of a
// 127th of the channel's greatest magnitude (the calibration, measured in float32), to [-127, 127]. After a ReLU
// nothing is negative: the hidden activations, and with pre_activation what the convolution reads, are in units of a
// 255th, from 0 to 255. Units are multiplied into the weights' columns, and the weights are int8 with a scale a row.
// Beyond the greatest measured, activations saturate. Sums of integers are exact and the float operations around them
// the same everywhere, so that every instruction set has the same bits. C channels, k taps.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/encoder_weights.h"

namespace rtengine {

inline constexpr float kSignedUnits = 127.0f, kUnsignedUnits = 255.0f;

// Greatest magnitudes, [layers, C] each.
struct EncoderRanges {
  std::vector<float> input;   // of what each layer's convolution reads, after the ReLU with pre_activation
  std::vector<float> hidden;  // of what its mixing convolution reads; empty with pre_activation
};

// scale * (values x) + bias
struct QuantizedProduct {
  int rows = 0, columns = 0;
  std::vector<std::int8_t> values;  // [rows, columns], from -127 to 127
  std::vector<float> scale, bias;   // [rows]

  std::int8_t at(int row, int column) const { return values[static_cast<std::size_t>(row) * columns + column]; }
};

struct QuantizedEncoderLayer {
  std::vector<float> to_units;   // [C]: units in an input of 1
  QuantizedProduct convolution;  // [C, k C], tap by tap; gives units of the hidden activations, if there are any
  QuantizedProduct mix;          // [C, C]; no rows with pre_activation
};

// Throws std::invalid_argument if the ranges are of the wrong size, negative or not finite.
std::vector<QuantizedEncoderLayer> quantize(const EncoderWeights& weights, const EncoderRanges& ranges);

}  // namespace rtengine
