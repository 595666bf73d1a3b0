#include "cpu/encoder_weights.h"

#include <stdexcept>
#include <string>

namespace rtengine {
namespace {

constexpr const char* kConfig = "encoder config";
constexpr int kMaxLayersABlock = 16;  // a dilation of 2^15 samples is 2 seconds: beyond is a mistake
constexpr int kMaxLayers = 1024;
constexpr int kMaxChannels = 4096;  // with kMaxTaps, sums of int8 products stay within 31 bits
constexpr int kMaxTaps = 9;
constexpr int kMaxHopSamples = 1 << 20;

// The convolution and the mixing one after it as one.
void merge(EncoderLayerWeights& layer, std::size_t c, std::size_t taps) {
  std::vector<float> merged(c * c * taps), bias(c);
  std::vector<double> row(c * taps);
  for (std::size_t o = 0; o < c; ++o) {
    std::fill(row.begin(), row.end(), 0.0);
    double sum = layer.mix_bias[o];
    for (std::size_t m = 0; m < c; ++m) {
      const double weight = layer.mix[o * c + m];
      sum += weight * layer.convolution_bias[m];
      for (std::size_t i = 0; i < c * taps; ++i) row[i] += weight * layer.convolution[m * c * taps + i];
    }
    for (std::size_t i = 0; i < c * taps; ++i) merged[o * c * taps + i] = static_cast<float>(row[i]);
    bias[o] = static_cast<float>(sum);
  }
  layer.convolution = std::move(merged);
  layer.convolution_bias = std::move(bias);
  layer.mix.clear();
  layer.mix_bias.clear();
}

}  // namespace

std::int64_t EncoderConfig::lookahead_samples() const {
  std::int64_t sum = ahead(1);
  for (int i = 0; i < total_layers(); ++i) sum += ahead(dilation(i));
  return sum;
}

void EncoderConfig::validate() const {
  check_range(kConfig, "layers", layers, 1, kMaxLayersABlock);
  check_range(kConfig, "blocks", blocks, 1, kMaxLayers / layers);
  check_range(kConfig, "channels", channels, 1, kMaxChannels);
  check_range(kConfig, "kernel_size", kernel_size, 2, kMaxTaps);
  check_range(kConfig, "latent_channels", latent_channels, 1, kMaxChannels);
  check_range(kConfig, "hop_samples", hop_samples, 1, kMaxHopSamples);
  if (!causal && kernel_size % 2 == 0)
    throw std::invalid_argument(std::string(kConfig) + ": expected an odd kernel_size of a symmetric encoder, found " +
                                std::to_string(kernel_size));
  if (!front_end) return;
  if (!causal)
    throw std::invalid_argument(std::string(kConfig) +
                                ": expected a causal encoder behind a front end, found a symmetric one");
  front_end->validate(hop_samples);
}

EncoderWeights EncoderWeights::from_tensors(const EncoderConfig& config, const TensorViews& tensors) {
  config.validate();
  const std::int64_t c = config.channels, k = config.kernel_size, l = config.latent_channels;
  TensorReader reader(tensors, "encoder weights");
  EncoderWeights w;
  w.config = config;
  w.input = reader.take("input.weight", {c, config.inputs(), k});
  w.input_bias = reader.take("input.bias", {c});
  for (int i = 0; i < config.total_layers(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    EncoderLayerWeights& layer = w.layers.emplace_back();
    layer.dilation = config.dilation(i);
    layer.convolution = reader.take(prefix + "dilated.weight", {c, c, k});
    layer.convolution_bias = reader.take(prefix + "dilated.bias", {c});
    layer.mix = reader.take(prefix + "mix.weight", {c, c, 1});
    layer.mix_bias = reader.take(prefix + "mix.bias", {c});
  }
  w.latent = reader.take("latent.weight", {l, c, 1});
  w.latent_bias = reader.take("latent.bias", {l});
  reader.refuse_the_rest();
  if (config.pre_activation)
    for (EncoderLayerWeights& layer : w.layers) merge(layer, static_cast<std::size_t>(c), static_cast<std::size_t>(k));
  return w;
}

std::int64_t EncoderWeights::multiply_adds_per_hop() const {
  const std::int64_t c = config.channels, k = config.kernel_size;
  const std::int64_t layer = c * c * (k + (config.pre_activation ? 0 : 1));
  const std::int64_t once = c * k * config.inputs() + config.total_layers() * layer;
  if (!config.front_end) return config.hop_samples * once + c * config.latent_channels;
  std::int64_t filters = 0;
  for (const Filter& filter : constant_q_filters(*config.front_end))
    filters += static_cast<std::int64_t>(2 * filter.cosine.size());
  return filters + once + c * config.latent_channels;
}

}  // namespace rtengine
