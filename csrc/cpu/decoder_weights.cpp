#include "cpu/decoder_weights.h"

#include <cmath>
#include <set>
#include <sstream>
#include <stdexcept>

namespace rtengine {
namespace {

using Shape = std::vector<std::int64_t>;

std::string describe(const Shape& shape) {
  std::ostringstream text;
  text << "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
  text << "]";
  return text.str();
}

void check_range(const char* name, int value, int low, int high) {
  if (value >= low && value <= high) return;
  std::ostringstream text;
  text << "decoder config: expected " << name << " from " << low << " to " << high << ", found " << value;
  throw std::invalid_argument(text.str());
}

void check_equal(const char* name, int value, int expected) {
  if (value == expected) return;
  std::ostringstream text;
  text << "decoder config: expected " << name << " " << expected << ", found " << value;
  throw std::invalid_argument(text.str());
}

// Hands tensors out by name and remembers which were asked for, so that unknown ones can be refused.
class Reader {
 public:
  explicit Reader(const TensorViews& tensors) : tensors_(tensors) {}

  std::vector<float> take(const std::string& name, const Shape& expected) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end())
      throw std::invalid_argument("decoder weights: expected a tensor " + name + " of shape " + describe(expected) +
                                  ", found none");
    if (found->second.shape != expected)
      throw std::invalid_argument("decoder weights: expected " + name + " of shape " + describe(expected) + ", found " +
                                  describe(found->second.shape));
    std::size_t count = 1;
    for (const std::int64_t n : expected) count *= static_cast<std::size_t>(n);
    std::vector<float> values(found->second.data, found->second.data + count);
    for (const float value : values)
      if (!std::isfinite(value))
        throw std::invalid_argument("decoder weights: expected finite numbers in " + name + ", found NaN or infinity");
    taken_.insert(name);
    return values;
  }

  void refuse_the_rest() const {
    for (const auto& [name, tensor] : tensors_)
      if (!taken_.count(name))
        throw std::invalid_argument("decoder weights: expected " + std::to_string(taken_.size()) +
                                    " tensors, found an unknown one: " + name + " of shape " + describe(tensor.shape));
  }

 private:
  const TensorViews& tensors_;
  std::set<std::string> taken_;
};

}  // namespace

void DecoderConfig::validate() const {
  check_equal("kernel_size", kernel_size, 2);
  check_equal("classes", classes, kClasses);
  check_range("layers", layers, 1, kMaxLayersABlock);
  check_range("blocks", blocks, 1, kMaxLayers / layers);
  check_range("residual_channels", residual_channels, 1, kMaxChannels);
  check_range("skip_channels", skip_channels, 1, kMaxChannels);
  check_range("latent_channels", latent_channels, 1, kMaxChannels);
  check_range("hop_samples", hop_samples, 1, kMaxHopSamples);
  if (mu_law != "rounded" && mu_law != "published")
    throw std::invalid_argument("decoder config: expected mu_law \"rounded\" or \"published\", found \"" + mu_law +
                                "\"");
}

DecoderWeights DecoderWeights::from_tensors(const DecoderConfig& config, const TensorViews& tensors) {
  config.validate();
  const std::int64_t r = config.residual_channels, s = config.skip_channels, l = config.latent_channels;
  Reader reader(tensors);
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

std::int64_t DecoderWeights::bytes_per_sample() const {
  const std::int64_t r = config.residual_channels, s = config.skip_channels;
  const std::int64_t layer = 4 * r * r + 2 * r + r * r + r + s * r + s;
  const std::int64_t ends = 3 * r + s * r + s + s * s + s + kClasses * s + kClasses;
  return static_cast<std::int64_t>(sizeof(float)) * (config.total_layers() * layer + ends);
}

}  // namespace rtengine
