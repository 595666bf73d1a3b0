// The integer decoder in plain loops, to be read beside kernels_integer.h. Its integers are those of every kernel, and
// its float32 operations stand in the same order, so that the logits are equal bit for bit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/decoder_config.h"
#include "cpu/kernels_integer.h"
#include "cpu/network_integer.h"

namespace rtengine {
namespace {

float clamp(float x, float limit) {  // NaN becomes -limit
  const float low = x > -limit ? x : -limit;
  return low < limit ? low : limit;
}

std::int32_t rounded(float x) { return static_cast<std::int32_t>(std::nearbyint(x)); }

// 2^x as in vector_math.h.
float exp2(float x) {
  const float whole = std::nearbyint(x), r = x - whole, r2 = r * r;
  const float low = std::fma(0.24022242426872253f, r, 0.6931470036506653f);
  const float high = std::fma(0.009671511128544807f, r, 0.05550733953714371f);
  const float top = std::fma(0.0013264708686619997f, r2, high);
  return std::ldexp(std::fma(std::fma(top, r2, low), r, 1.0f), static_cast<int>(whole));
}

// 2^x as in layer_step.h.
float coarse_exp2(float x) {
  const float whole = std::nearbyint(x), r = x - whole;
  const float high = std::fma(0.05500895f, r, 0.24221101f);
  return std::ldexp(std::fma(std::fma(high, r, 0.6932829f), r, 1.0f), static_cast<int>(whole));
}

// sigmoid(a) tanh(b), times kGreatest8, from -log2(e) a and -2 log2(e) b.
float gate(float a, float b) {
  const float u = coarse_exp2(std::max(std::min(a, 60.0f), -60.0f));
  const float v = coarse_exp2(std::max(std::min(b, 60.0f), -60.0f));
  return (1.0f - v) * static_cast<float>(kGreatest8) / ((1.0f + u) * (1.0f + v));
}

std::int32_t dot(const QuantizedMatrix& m, int row, const std::int32_t* x) {
  std::int32_t sum = 0;
  for (int j = 0; j < m.columns; ++j) sum += m.at(row, j) * x[j];
  return sum;
}

class ScalarIntegerNetwork final : public Network {
 public:
  explicit ScalarIntegerNetwork(std::shared_ptr<const QuantizedDecoder> weights)
      : q_(std::move(weights)),
        r_(q_->weights.config.residual_channels),
        s_(q_->weights.config.skip_channels),
        l_(q_->weights.config.latent_channels),
        x_(size(r_)),
        skip_(size(s_)),
        hidden_(size(s_)),
        logits_(kClasses),
        output_conditioning_(size(s_)),
        units_(size(std::max(r_, s_))),
        z_(size(r_)) {
    for (const QuantizedLayer& layer : q_->layers) {
      base_.emplace_back(size(2 * r_));
      histories_.emplace_back(size(layer.dilation * r_));
    }
  }

  void reset() noexcept override {
    for (auto& history : histories_) std::fill(history.begin(), history.end(), 0);
    position_ = 0;
  }

  void begin_hop(const float* latent) noexcept override {
    const auto conditioned = [&](float bias, const float* row) {
      for (int j = 0; j < l_; ++j) bias = std::fma(row[j], latent[j], bias);
      return bias;
    };
    for (std::size_t i = 0; i < base_.size(); ++i) {
      const QuantizedLayer& layer = q_->layers[i];
      for (int row = 0; row < 2 * r_; ++row)
        base_[i][size(row)] =
            rounded(clamp(conditioned(layer.bias[size(row)], &layer.latent[size(row * l_)]), 0x1p29f));
    }
    const DecoderWeights& w = q_->weights;
    for (int row = 0; row < s_; ++row)
      output_conditioning_[size(row)] =
          conditioned(w.output_bias[size(row)] + w.output_latent_bias[size(row)], &w.output_latent[size(row * l_)]);
  }

  const float* step(float older, float newer) noexcept override {
    const DecoderWeights& w = q_->weights;
    const auto affine = [&](float a, float b, float bias) { return std::fma(b, newer, std::fma(a, older, bias)); };
    for (std::size_t j = 0; j < x_.size(); ++j) x_[j] = affine(w.input[2 * j], w.input[2 * j + 1], w.input_bias[j]);
    for (std::size_t j = 0; j < skip_.size(); ++j)
      skip_[j] = affine(q_->skip_input.older[j], q_->skip_input.newer[j], q_->skip_input.bias[j]);

    for (std::size_t i = 0; i < q_->layers.size(); ++i) {
      const QuantizedLayer& layer = q_->layers[i];
      std::int32_t* past = &histories_[i][position_ % static_cast<unsigned>(layer.dilation) * x_.size()];
      for (std::size_t j = 0; j < x_.size(); ++j) units_[j] = rounded(clamp(x_[j] * layer.to_units[j], kGreatest8));

      const auto gated = [&](int row) {
        const std::int32_t now = dot(layer.now, row, units_.data());
        const std::int32_t rest = dot(layer.past, row, past) + base_[i][size(row)];
        if (!q_->four_bits) return static_cast<float>(now + rest) * layer.gate_scale[size(row)];
        return std::fma(static_cast<float>(now), layer.now_gate_scale[size(row)],
                        static_cast<float>(rest) * layer.gate_scale[size(row)]);
      };
      for (int j = 0; j < r_; ++j) z_[size(j)] = rounded(gate(gated(j), gated(r_ + j)));
      std::copy_n(units_.begin(), x_.size(), past);  // only now: the ring holds exactly the last `dilation` inputs

      for (int j = 0; j < r_; ++j) {
        const std::int32_t sum = dot(layer.residual, j, z_.data()) + layer.residual_bias[size(j)];
        x_[size(j)] = std::fma(static_cast<float>(sum), layer.residual.scale[size(j)], x_[size(j)]);
      }
      for (int j = 0; j < s_; ++j)
        skip_[size(j)] =
            std::fma(static_cast<float>(dot(layer.skip, j, z_.data())), layer.skip.scale[size(j)], skip_[size(j)]);
    }

    output(q_->output, skip_, output_conditioning_, hidden_);
    output(q_->logits, hidden_, w.logits_bias, logits_);
    ++position_;
    return logits_.data();
  }

  const float* logits() const noexcept override { return logits_.data(); }

  int sample(float temperature, float uniform) noexcept override {
    constexpr std::size_t kGroup = 16;  // summed as the kernels do
    const float top = *std::max_element(logits_.begin(), logits_.end());
    float weight[kClasses], upto[kClasses / kGroup], total = 0.0f;
    for (std::size_t i = 0; i < kClasses; ++i)
      weight[i] = exp2(std::max((logits_[i] - top) * (1.44269504f / temperature), -100.0f));
    for (std::size_t g = 0; g < kClasses / kGroup; ++g) {
      float part = 0.0f;
      for (std::size_t i = 0; i < kGroup; ++i) part += weight[g * kGroup + i];
      upto[g] = total += part;
    }
    const float threshold = uniform * total;
    std::size_t group = 0;
    while (group + 1 < kClasses / kGroup && upto[group] <= threshold) ++group;
    std::size_t i = group * kGroup;
    float sum = (group > 0 ? upto[group - 1] : 0.0f) + weight[i];
    while (i < group * kGroup + kGroup - 1 && sum <= threshold) sum += weight[++i];
    return static_cast<int>(i);
  }

  int most_probable() noexcept override {
    return static_cast<int>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  }

 private:
  static std::size_t size(int n) { return static_cast<std::size_t>(n); }

  // y = m relu(x) + bias, x in 16 bits of its own scale.
  void output(const QuantizedMatrix& m, const std::vector<float>& x, const std::vector<float>& bias,
              std::vector<float>& y) {
    float most = 0.0f;
    for (const float value : x) most = std::max(most, value);
    const float greatest = std::max(most, 1e-20f), unit = greatest / static_cast<float>(kGreatest16),
                to_units = static_cast<float>(kGreatest16) / greatest;
    for (std::size_t j = 0; j < x.size(); ++j) units_[j] = rounded(clamp(std::max(x[j], 0.0f) * to_units, kGreatest16));
    const bool hidden = &y == &hidden_;
    for (int i = 0; i < m.rows; ++i) {
      const float value =
          std::fma(static_cast<float>(dot(m, i, units_.data())), m.scale[size(i)] * unit, bias[size(i)]);
      y[size(i)] = hidden ? std::max(value, 0.0f) : value;
    }
  }

  std::shared_ptr<const QuantizedDecoder> q_;
  int r_, s_, l_;
  std::uint64_t position_ = 0;
  std::vector<float> x_, skip_, hidden_, logits_, output_conditioning_;
  std::vector<std::int32_t> units_, z_;
  std::vector<std::vector<std::int32_t>> base_;       // a layer: [2R]
  std::vector<std::vector<std::int32_t>> histories_;  // a layer: [dilation, R], a ring
};

}  // namespace

std::unique_ptr<Network> make_scalar_integer_network(std::shared_ptr<const QuantizedDecoder> weights) {
  return std::make_unique<ScalarIntegerNetwork>(std::move(weights));
}

}  // namespace rtengine
