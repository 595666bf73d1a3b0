#include "cpu/network_scalar.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace rtengine {
namespace {

// y [rows] += matrix [rows, columns] x [columns]; `stride` and `offset` pick one tap of a convolution [rows, columns,
// 2].
void add_product(std::vector<float>& y, const std::vector<float>& matrix, const float* x, std::size_t columns,
                 std::size_t stride = 1, std::size_t offset = 0) {
  for (std::size_t i = 0; i < y.size(); ++i)
    for (std::size_t j = 0; j < columns; ++j) y[i] += matrix[(i * columns + j) * stride + offset] * x[j];
}

void add(std::vector<float>& y, const std::vector<float>& x) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += x[i];
}

void relu(std::vector<float>& y) {
  for (float& value : y) value = std::max(value, 0.0f);
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

class ScalarNetwork final : public Network {
 public:
  explicit ScalarNetwork(std::shared_ptr<const DecoderWeights> weights)
      : weights_(std::move(weights)),
        r_(static_cast<std::size_t>(weights_->config.residual_channels)),
        s_(static_cast<std::size_t>(weights_->config.skip_channels)),
        l_(static_cast<std::size_t>(weights_->config.latent_channels)),
        y_(r_),
        z_(r_),
        gated_(2 * r_),
        residual_(r_),
        skip_(s_),
        hidden_(s_),
        logits_(kClasses),
        output_conditioning_(s_) {
    for (const LayerWeights& layer : weights_->layers) {
      conditioning_.emplace_back(2 * r_);
      histories_.emplace_back(static_cast<std::size_t>(layer.dilation) * r_);
    }
  }

  void reset() noexcept override {
    for (std::vector<float>& history : histories_) std::fill(history.begin(), history.end(), 0.0f);
    position_ = 0;
  }

  void begin_hop(const float* latent) noexcept override {
    const DecoderWeights& w = *weights_;
    for (std::size_t i = 0; i < w.layers.size(); ++i) {
      conditioning_[i] = w.layers[i].latent_bias;
      add_product(conditioning_[i], w.layers[i].latent, latent, l_);
    }
    output_conditioning_ = w.output_latent_bias;
    add_product(output_conditioning_, w.output_latent, latent, l_);
  }

  const float* step(float older, float newer) noexcept override {
    const DecoderWeights& w = *weights_;
    for (std::size_t i = 0; i < r_; ++i) y_[i] = w.input_bias[i] + w.input[2 * i] * older + w.input[2 * i + 1] * newer;
    skip_ = w.input_skip_bias;
    add_product(skip_, w.input_skip, y_.data(), r_);

    for (std::size_t i = 0; i < w.layers.size(); ++i) {
      const LayerWeights& layer = w.layers[i];
      // The ring holds exactly the last `dilation` inputs: the slot of y[t] is that of y[t - dilation].
      float* past = &histories_[i][position_ % static_cast<std::uint64_t>(layer.dilation) * r_];

      gated_ = layer.dilated_bias;  // [a; b] = W_past y[t - d] + W_now y[t] + V c
      add_product(gated_, layer.dilated, past, r_, 2, 0);
      add_product(gated_, layer.dilated, y_.data(), r_, 2, 1);
      add(gated_, conditioning_[i]);
      std::copy(y_.begin(), y_.end(), past);

      for (std::size_t j = 0; j < r_; ++j) z_[j] = sigmoid(gated_[j]) * std::tanh(gated_[r_ + j]);

      residual_ = layer.residual_bias;
      add_product(residual_, layer.residual, z_.data(), r_);
      add(y_, residual_);
      add(skip_, layer.skip_bias);
      add_product(skip_, layer.skip, z_.data(), r_);
    }

    relu(skip_);
    hidden_ = w.output_bias;
    add_product(hidden_, w.output, skip_.data(), s_);
    add(hidden_, output_conditioning_);
    relu(hidden_);
    logits_ = w.logits_bias;
    add_product(logits_, w.logits, hidden_.data(), s_);
    ++position_;
    return logits_.data();
  }

  const float* logits() const noexcept override { return logits_.data(); }

  const float* layer_input(int layer) const noexcept override {
    const std::size_t i = static_cast<std::size_t>(layer);
    const std::uint64_t dilation = static_cast<std::uint64_t>(weights_->layers[i].dilation);
    return &histories_[i][(position_ - 1) % dilation * r_];
  }

  int sample(float temperature, float uniform) noexcept override {
    const float top = logits_[static_cast<std::size_t>(most_probable())];
    std::array<float, kClasses> weight;
    float total = 0.0f;
    for (std::size_t i = 0; i < kClasses; ++i) total += weight[i] = std::exp((logits_[i] - top) / temperature);
    const float threshold = uniform * total;
    float sum = 0.0f;
    int last = 0;  // where rounding leaves the sum short of the threshold, the last class with any weight
    for (std::size_t i = 0; i < kClasses; ++i) {
      if (weight[i] > 0.0f) last = static_cast<int>(i);
      sum += weight[i];
      if (sum > threshold) break;
    }
    return last;
  }

  int most_probable() noexcept override {
    return static_cast<int>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  }

 private:
  std::shared_ptr<const DecoderWeights> weights_;
  std::size_t r_, s_, l_;
  std::uint64_t position_ = 0;
  std::vector<float> y_, z_;                      // [R]
  std::vector<float> gated_;                      // [2R]
  std::vector<float> residual_;                   // [R]
  std::vector<float> skip_, hidden_;              // [S]
  std::vector<float> logits_;                     // [256]
  std::vector<float> output_conditioning_;        // [S]
  std::vector<std::vector<float>> conditioning_;  // a layer: [2R]
  std::vector<std::vector<float>> histories_;     // a layer: [dilation, R], a ring
};

}  // namespace

std::unique_ptr<Network> make_scalar_network(std::shared_ptr<const DecoderWeights> weights) {
  return std::make_unique<ScalarNetwork>(std::move(weights));
}

}  // namespace rtengine
