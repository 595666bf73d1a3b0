// The weights of one decoder in the layout of its PyTorch module (models.Decoder.state_dict()), checked on the way in.
// R residual channels, S skip channels, L latent channels. Every array is row-major float32, though its numbers may be
// those of a smaller format.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/decoder_config.h"
#include "cpu/tensors.h"

namespace rtengine {

struct LayerWeights {
  int dilation = 1;
  std::vector<float> dilated;        // [2R, R, 2]: the first R rows are the gate; [..., 0] is the past tap
  std::vector<float> dilated_bias;   // [2R]
  std::vector<float> latent;         // [2R, L]
  std::vector<float> latent_bias;    // [2R]
  std::vector<float> residual;       // [R, R]
  std::vector<float> residual_bias;  // [R]
  std::vector<float> skip;           // [S, R]
  std::vector<float> skip_bias;      // [S]
};

enum class MatrixFormat { kFloat32, kBf16 };

// What the skip sum starts from, before the layers add to it: affine in the two network inputs. [S] each.
struct SkipInput {
  std::vector<float> older, newer, bias;  // `bias` with the skip biases of all layers
};

struct DecoderWeights {
  DecoderConfig config;
  MatrixFormat format = MatrixFormat::kFloat32;
  std::vector<float> input;            // [R, 2]: [..., 0] is the older of the two previous samples
  std::vector<float> input_bias;       // [R]
  std::vector<float> input_skip;       // [S, R]
  std::vector<float> input_skip_bias;  // [S]
  std::vector<LayerWeights> layers;
  std::vector<float> output;              // [S, S]
  std::vector<float> output_bias;         // [S]
  std::vector<float> output_latent;       // [S, L]
  std::vector<float> output_latent_bias;  // [S]
  std::vector<float> logits;              // [256, S]
  std::vector<float> logits_bias;         // [256]

  // Throws std::invalid_argument on a missing, unknown, misshapen or non-finite tensor, naming it.
  static DecoderWeights from_tensors(const DecoderConfig& config, const TensorViews& tensors);

  // Rounds every matrix to bfloat16, to nearest even. The input convolution, the input's skip projection (which kernels
  // compose with it) and all biases stay as they are.
  void round_to_bf16();

  // The input convolution and the skip projection after it, composed.
  SkipInput skip_input() const;

  // Bytes of weights (of `format`) and biases (float32) that one sample needs, each counted once. The latent
  // projections are used once a hop and are left out.
  std::int64_t bytes_per_sample() const;
};

}  // namespace rtengine
