// The weights of one decoder in int8, row-major, before any packing; see kernels_integer.h for the numbers.
// R residual channels, S skip channels, L latent channels.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/decoder_weights.h"

namespace rtengine {

struct QuantizedMatrix {
  int rows = 0, columns = 0;
  std::vector<std::int8_t> values;  // [rows, columns], from -127 to 127
  std::vector<float> scale;         // [rows]: the weight is value * scale

  std::int8_t at(int row, int column) const { return values[static_cast<std::size_t>(row) * columns + column]; }
};

// Codes from -8 to 7 of one decoder's weights for inputs in int8 units, row-major, and the scale of each row; see
// QuantizedLayer.
struct Codes {
  std::vector<std::int8_t> now, residual, skip;              // [layers, 2R, R], [layers, R, R], [layers, S, R]
  std::vector<float> now_scale, residual_scale, skip_scale;  // [layers, 2R], [layers, R], [layers, S]
};

struct QuantizedLayer {
  int dilation = 1;
  std::vector<float> to_units;              // [R]: int8 units in an input of 1
  QuantizedMatrix now, past;                // [2R, R] for inputs in these units; in int8 one scale for both taps
  std::vector<float> gate_scale;            // [2R]: `past.scale` times -log2(e) (gate) or -2 log2(e) (content)
  std::vector<float> now_gate_scale;        // [2R]: the same of `now.scale`
  std::vector<float> bias;                  // [2R] of both convolutions, in units of `past.scale`
  std::vector<float> latent;                // [2R, L], likewise
  QuantizedMatrix residual, skip;           // for z in units of 1/127
  std::vector<std::int32_t> residual_bias;  // [R], in units of residual.scale
};

struct QuantizedDecoder {
  // ranges [layers, R]: greatest magnitude of each input. codes: of the current taps, residual and skip products
  // (int4), or null (int8). Throws std::invalid_argument naming what is wrong.
  QuantizedDecoder(DecoderWeights weights, const std::vector<float>& ranges, const Codes* codes = nullptr);

  DecoderWeights weights;  // what stays float32 is used from here: input, output conditioning, biases
  std::vector<QuantizedLayer> layers;
  QuantizedMatrix output, logits;
  SkipInput skip_input;
  bool four_bits = false;

  std::int64_t bytes_per_sample() const;  // weights, scales and biases, each once
};

}  // namespace rtengine
