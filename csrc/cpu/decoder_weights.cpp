#include "cpu/decoder_weights.h"

#include <sstream>
#include <stdexcept>

#include "cpu/bf16.h"
#include "cpu/linear_prediction.h"

namespace rtengine {
namespace {

constexpr const char* kConfig = "decoder config";

void check_equal(const char* name, int value, int expected) {
  if (value == expected) return;
  std::ostringstream text;
  text << kConfig << ": expected " << name << " " << expected << ", found " << value;
  throw std::invalid_argument(text.str());
}

}  // namespace

void DecoderConfig::validate() const {
  check_equal("kernel_size", kernel_size, 2);
  check_equal("classes", classes, kClasses);
  check_range(kConfig, "layers", layers, 1, kMaxLayersABlock);
  check_range(kConfig, "blocks", blocks, 1, kMaxLayers / layers);
  check_range(kConfig, "residual_channels", residual_channels, 1, kMaxChannels);
  check_range(kConfig, "skip_channels", skip_channels, 1, kMaxChannels);
  check_range(kConfig, "latent_channels", latent_channels, 1, kMaxChannels);
  check_range(kConfig, "hop_samples", hop_samples, 1, kMaxHopSamples);
  check_range(kConfig, "prediction_order", prediction_order, 0, kPredictionWindow);
  if (prediction_order > 0 && mu_law != "rounded")
    throw std::invalid_argument("decoder config: expected mu_law \"rounded\" with a prediction, found \"" + mu_law +
                                "\"");
  if (mu_law != "rounded" && mu_law != "published")
    throw std::invalid_argument("decoder config: expected mu_law \"rounded\" or \"published\", found \"" + mu_law +
                                "\"");
  if (!(emphasis >= 0.0 && emphasis <= kMaxEmphasis)) {
    std::ostringstream text;
    text << kConfig << ": expected emphasis from 0 to " << kMaxEmphasis << ", found " << emphasis;
    throw std::invalid_argument(text.str());
  }
}

DecoderWeights DecoderWeights::from_tensors(const DecoderConfig& config, const TensorViews& tensors) {
  config.validate();
  const std::int64_t r = config.residual_channels, s = config.skip_channels, l = config.latent_channels;
  TensorReader reader(tensors, "decoder weights");
  DecoderWeights w;
  w.config = config;
  w.input = reader.take("input.weight", {r, 1, 2});
  w.input_bias = reader.take("input.bias", {r});
  w.input_skip = reader.take("input_skip.weight", {s, r, 1});
  w.input_skip_bias = reader.take("input_skip.bias", {s});
  for (int i = 0; i < config.total_layers(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    LayerWeights& layer = w.layers.emplace_back();
    layer.dilation = config.dilation(i);
    layer.dilated = reader.take(prefix + "dilated.weight", {2 * r, r, 2});
    layer.dilated_bias = reader.take(prefix + "dilated.bias", {2 * r});
    layer.latent = reader.take(prefix + "latent.weight", {2 * r, l, 1});
    layer.latent_bias = reader.take(prefix + "latent.bias", {2 * r});
    layer.residual = reader.take(prefix + "residual.weight", {r, r, 1});
    layer.residual_bias = reader.take(prefix + "residual.bias", {r});
    layer.skip = reader.take(prefix + "skip.weight", {s, r, 1});
    layer.skip_bias = reader.take(prefix + "skip.bias", {s});
  }
  w.output = reader.take("output.weight", {s, s, 1});
  w.output_bias = reader.take("output.bias", {s});
  w.output_latent = reader.take("output_latent.weight", {s, l, 1});
  w.output_latent_bias = reader.take("output_latent.bias", {s});
  w.logits = reader.take("logits.weight", {kClasses, s, 1});
  w.logits_bias = reader.take("logits.bias", {kClasses});
  reader.refuse_the_rest();
  return w;
}

void DecoderWeights::round_to_bf16() {
  const auto round = [](std::vector<float>& matrix) {
    for (float& value : matrix) value = to_float(to_bf16(value));
  };
  for (LayerWeights& layer : layers)
    for (std::vector<float>* matrix : {&layer.dilated, &layer.latent, &layer.residual, &layer.skip}) round(*matrix);
  for (std::vector<float>* matrix : {&output, &output_latent, &logits}) round(*matrix);
  format = MatrixFormat::kBf16;
}

SkipInput DecoderWeights::skip_input() const {
  const std::size_t r = static_cast<std::size_t>(config.residual_channels);
  SkipInput skip;
  for (std::size_t i = 0; i < static_cast<std::size_t>(config.skip_channels); ++i) {
    double older = 0.0, newer = 0.0, bias = 0.0;
    for (std::size_t j = 0; j < r; ++j) {
      const double through = input_skip[i * r + j];
      older += through * input[2 * j];
      newer += through * input[2 * j + 1];
      bias += through * input_bias[j];
    }
    bias += input_skip_bias[i];
    for (const LayerWeights& layer : layers) bias += layer.skip_bias[i];
    skip.older.push_back(static_cast<float>(older));
    skip.newer.push_back(static_cast<float>(newer));
    skip.bias.push_back(static_cast<float>(bias));
  }
  return skip;
}

std::int64_t DecoderWeights::bytes_per_sample() const {
  const std::int64_t r = config.residual_channels, s = config.skip_channels, layer_count = config.total_layers();
  const std::int64_t matrices = layer_count * (4 * r * r + r * r + s * r) + s * s + kClasses * s;
  const std::int64_t input = 2 * r + s * r;
  const std::int64_t biases = layer_count * (2 * r + r + s) + r + s + s + kClasses;
  return (format == MatrixFormat::kBf16 ? 2 : 4) * matrices + 4 * (input + biases);
}

}  // namespace rtengine
