// The encoder of a model: its architecture, twin of rtserver.model_config.EncoderConfig, and its weights, checked on
// the way in. C channels, L latent channels, k taps, K inputs: 1, or the bins of a filter bank. Every array is
// row-major float32.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/constant_q.h"
#include "cpu/tensors.h"

namespace rtengine {

struct EncoderConfig {
  int blocks = 3;
  int layers = 10;  // a block
  int channels = 128;
  int kernel_size = 3;
  bool causal = true;           // every convolution looks back only; else padding is symmetric
  bool pre_activation = false;  // ReLU before the dilated convolution, else between it and the mixing one
  int latent_channels = 16;
  int hop_samples = 160;
  // None: the convolutions run once a sample, on network input. Else once a hop, on what this makes of audio.
  std::optional<ConstantQConfig> front_end;

  int inputs() const { return front_end ? front_end->bins() : 1; }
  int total_layers() const { return blocks * layers; }
  int dilation(int layer) const { return 1 << (layer % layers); }

  // Samples after the current one that a convolution of this dilation reads.
  int ahead(int dilation) const { return causal ? 0 : (kernel_size - 1) / 2 * dilation; }

  // Samples beyond the end of a hop that its latent depends on, and the hops in which these come.
  std::int64_t lookahead_samples() const;
  std::int64_t lag_hops() const { return (lookahead_samples() + hop_samples - 1) / hop_samples; }

  // Throws std::invalid_argument naming the field, what was expected and what was found.
  void validate() const;
};

// y + mix(relu(convolution(y))), or with pre_activation y + convolution(relu(y)): the two convolutions of such a layer
// have nothing in between and are one, multiplied out in double precision.
struct EncoderLayerWeights {
  int dilation = 1;
  std::vector<float> convolution;       // [C, C, k], the oldest tap first
  std::vector<float> convolution_bias;  // [C]
  std::vector<float> mix;               // [C, C]; empty with pre_activation
  std::vector<float> mix_bias;          // [C]; empty with pre_activation
};

struct EncoderWeights {
  EncoderConfig config;
  std::vector<float> input;       // [C, K, k], the oldest tap first
  std::vector<float> input_bias;  // [C]
  std::vector<EncoderLayerWeights> layers;
  std::vector<float> latent;       // [L, C]
  std::vector<float> latent_bias;  // [L]

  // From tensors named and shaped as in models.Encoder.state_dict(). Throws std::invalid_argument on a missing,
  // unknown, misshapen or non-finite one, naming it.
  static EncoderWeights from_tensors(const EncoderConfig& config, const TensorViews& tensors);

  std::int64_t multiply_adds_per_hop() const;
};

}  // namespace rtengine
