// The encoder in plain loops: the reference that the vector kernels are held to. Arrays are row-major, a row a sample.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "cpu/encoder_network.h"

namespace rtengine {
namespace {

// As vector instructions compare: NaN becomes `low`.
float clamp(float x, float low, float high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}

// The last rows of a stream: rows(old + new), oldest first.
template <class Number>
class History {
 public:
  History(std::size_t before, std::size_t hop, std::size_t width)
      : rows_((before + hop) * width), fresh_(before * width), hop_(hop * width), width_(width) {}

  void clear() { std::fill(rows_.begin(), rows_.end(), Number{}); }
  Number* advance() {  // gives the room for the next hop
    std::copy(rows_.begin() + static_cast<std::ptrdiff_t>(hop_), rows_.end(), rows_.begin());
    return &rows_[fresh_];
  }
  const Number* row(std::size_t i) const { return &rows_[i * width_]; }

 private:
  std::vector<Number> rows_;
  std::size_t fresh_, hop_, width_;
};

// One matrix, column by column so that the loop over rows is the inner one.
template <class Number>
struct Product {
  std::size_t rows = 0, columns = 0;
  std::vector<Number> values;      // [columns, rows]
  std::vector<float> scale, bias;  // [rows]; no scale in float32

  template <class Sum>
  void add(std::vector<Sum>& sums, const Number* x, std::size_t first_column, std::size_t count) const {
    for (std::size_t j = 0; j < count; ++j)
      for (std::size_t i = 0; i < rows; ++i) sums[i] += values[(first_column + j) * rows + i] * static_cast<Sum>(x[j]);
  }
};

struct Float32 {
  using Number = float;
  using Sum = float;
  static float affine(const Product<float>& p, std::size_t i, float sum) { return sum + p.bias[i]; }
  static float affine(const Product<float>& p, std::size_t i, float sum, float y) { return sum + (y + p.bias[i]); }
  static float hidden(float x) { return std::max(x, 0.0f); }
  static float input(float y, float, bool pre_activation) { return pre_activation ? std::max(y, 0.0f) : y; }
};

struct Int8 {
  using Number = std::int16_t;  // of 9 bits, as 0 to 255 and -127 to 127 are both possible
  using Sum = std::int32_t;
  static float affine(const Product<Number>& p, std::size_t i, Sum sum) {
    return std::fma(static_cast<float>(sum), p.scale[i], p.bias[i]);
  }
  static float affine(const Product<Number>& p, std::size_t i, Sum sum, float y) {
    return std::fma(static_cast<float>(sum), p.scale[i], y + p.bias[i]);
  }
  static Number round(float x) { return static_cast<Number>(std::lrint(x)); }
  static Number hidden(float x) { return round(clamp(x, 0.0f, kUnsignedUnits)); }
  static Number input(float y, float to_units, bool pre_activation) {
    return pre_activation ? round(clamp(y * to_units, 0.0f, kUnsignedUnits))
                          : round(clamp(y * to_units, -kSignedUnits, kSignedUnits));
  }
};

template <class Arithmetic>
class ScalarEncoder final : public EncoderNetwork {
 public:
  using Number = typename Arithmetic::Number;
  using Sum = typename Arithmetic::Sum;

  struct Layer {
    std::size_t dilation, ahead;
    std::vector<float> to_units;
    Product<Number> convolution, mix;
    History<Number> inputs;
    History<float> stream;
  };

  ScalarEncoder(std::shared_ptr<const EncoderWeights> weights, std::vector<Layer> layers)
      : weights_(std::move(weights)),
        c_(static_cast<std::size_t>(weights_->config.channels)),
        hop_(static_cast<std::size_t>(weights_->config.hop_samples)),
        taps_(static_cast<std::size_t>(weights_->config.kernel_size)),
        layers_(std::move(layers)),
        samples_(taps_ - 1, hop_, 1),
        ends_(pending(), hop_, c_),
        y_(hop_ * c_),
        hidden_(c_),
        sums_(c_),
        mean_(c_),
        latent_(weights_->latent_bias.size()) {}

  void reset() noexcept override {
    samples_.clear();
    for (Layer& layer : layers_) {
      layer.inputs.clear();
      layer.stream.clear();
    }
    ends_.clear();
  }

  const float* step(const float* hop, std::int64_t position, std::int64_t end,
                    EncoderObserver* observer) noexcept override {
    const EncoderConfig& config = weights_->config;
    std::copy(hop, hop + hop_, samples_.advance());
    for (std::size_t t = 0; t < hop_; ++t)
      for (std::size_t i = 0; i < c_; ++i) {
        float sum = weights_->input_bias[i];
        for (std::size_t j = 0; j < taps_; ++j)
          sum = std::fma(weights_->input[i * taps_ + j], *samples_.row(t + j), sum);
        y_[t * c_ + i] = sum;
      }
    position -= config.ahead(1);
    silence_outside(position, end);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      position -= static_cast<std::int64_t>(layers_[i].ahead);
      run(layers_[i], static_cast<int>(i), position, end, observer);
      silence_outside(position, end);
    }
    std::copy(y_.begin(), y_.end(), ends_.advance());
    project();
    return latent_.data();
  }

 private:
  std::size_t pending() const {
    const EncoderConfig& config = weights_->config;
    return static_cast<std::size_t>(config.lag_hops() * config.hop_samples - config.lookahead_samples());
  }

  // first: the sample that the first of the layer's hidden rows is.
  void run(Layer& layer, int index, std::int64_t first, std::int64_t end, EncoderObserver* observer) {
    const bool pre = weights_->config.pre_activation;
    Number* inputs = layer.inputs.advance();
    for (std::size_t n = 0; n < hop_ * c_; ++n)
      inputs[n] = Arithmetic::input(y_[n], layer.to_units.empty() ? 1.0f : layer.to_units[n % c_], pre);
    std::copy(y_.begin(), y_.end(), layer.stream.advance());
    for (std::size_t t = 0; t < hop_; ++t) {
      const float* before = layer.stream.row(t);
      float* y = &y_[t * c_];
      std::fill(sums_.begin(), sums_.end(), Sum{});
      for (std::size_t j = 0; j < taps_; ++j)
        layer.convolution.add(sums_, layer.inputs.row(t + j * layer.dilation), j * c_, c_);
      const Product<Number>* last = &layer.convolution;
      if (!pre) {
        for (std::size_t i = 0; i < c_; ++i)
          hidden_[i] = Arithmetic::hidden(Arithmetic::affine(layer.convolution, i, sums_[i]));
        std::fill(sums_.begin(), sums_.end(), Sum{});
        layer.mix.add(sums_, hidden_.data(), 0, c_);
        last = &layer.mix;
      }
      for (std::size_t i = 0; i < c_; ++i) y[i] = Arithmetic::affine(*last, i, sums_[i], before[i]);
      if constexpr (std::is_same_v<Number, float>)
        if (observer) {
          const std::int64_t time = first + static_cast<std::int64_t>(t);
          const bool counts = !pre && time >= 0 && time < end;
          observer->row(index, layer.inputs.row(t + (taps_ - 1) * layer.dilation), counts ? hidden_.data() : nullptr);
        }
    }
  }

  // y_ holds the samples from `first` on; those outside of the signal are where a whole signal would be padded.
  void silence_outside(std::int64_t first, std::int64_t end) {
    for (std::size_t t = 0; t < hop_; ++t) {
      const std::int64_t time = first + static_cast<std::int64_t>(t);
      if (time < 0 || time >= end) std::fill_n(&y_[t * c_], c_, 0.0f);
    }
  }

  // The mean over the hop comes before the projection to the latent: both are linear, and so it is one row.
  void project() {
    std::fill(mean_.begin(), mean_.end(), 0.0f);
    for (std::size_t t = 0; t < hop_; ++t)
      for (std::size_t i = 0; i < c_; ++i) mean_[i] += ends_.row(t)[i];
    const float share = 1.0f / static_cast<float>(hop_);
    for (float& value : mean_) value *= share;
    for (std::size_t i = 0; i < latent_.size(); ++i) {
      float sum = weights_->latent_bias[i];
      for (std::size_t j = 0; j < c_; ++j) sum = std::fma(weights_->latent[i * c_ + j], mean_[j], sum);
      latent_[i] = sum;
    }
  }

  std::shared_ptr<const EncoderWeights> weights_;
  std::size_t c_, hop_, taps_;
  std::vector<Layer> layers_;
  History<float> samples_;
  History<float> ends_;   // [pending + hop, C]: the stream until it fills whole hops
  std::vector<float> y_;  // [hop, C]
  std::vector<Number> hidden_;
  std::vector<Sum> sums_;      // [C]
  std::vector<float> mean_;    // [C]
  std::vector<float> latent_;  // [L]
};

// value(row, column)
template <class Number, class Value>
Product<Number> product(int rows, int columns, const Value& value) {
  Product<Number> result;
  result.rows = static_cast<std::size_t>(rows);
  result.columns = static_cast<std::size_t>(columns);
  for (int j = 0; j < columns; ++j)
    for (int i = 0; i < rows; ++i) result.values.push_back(value(i, j));
  return result;
}

template <class Arithmetic>
typename ScalarEncoder<Arithmetic>::Layer empty_layer(const EncoderConfig& config, int dilation) {
  const auto size = [](int n) { return static_cast<std::size_t>(n); };
  const std::size_t ahead = size(config.ahead(dilation)), hop = size(config.hop_samples), c = size(config.channels);
  return {size(dilation), ahead, {}, {}, {}, {size(config.kernel_size - 1) * size(dilation), hop, c}, {ahead, hop, c}};
}

}  // namespace

std::unique_ptr<EncoderNetwork> make_scalar_encoder(std::shared_ptr<const EncoderWeights> weights) {
  const EncoderConfig& config = weights->config;
  const int c = config.channels, k = config.kernel_size;
  std::vector<ScalarEncoder<Float32>::Layer> layers;
  for (const EncoderLayerWeights& from : weights->layers) {
    auto& to = layers.emplace_back(empty_layer<Float32>(config, from.dilation));
    to.convolution =
        product<float>(c, k * c, [&](int i, int j) { return from.convolution[(i * c + j % c) * k + j / c]; });
    to.convolution.bias = from.convolution_bias;
    if (config.pre_activation) continue;
    to.mix = product<float>(c, c, [&](int i, int j) { return from.mix[i * c + j]; });
    to.mix.bias = from.mix_bias;
  }
  return std::make_unique<ScalarEncoder<Float32>>(std::move(weights), std::move(layers));
}

std::unique_ptr<EncoderNetwork> make_scalar_encoder(
    std::shared_ptr<const EncoderWeights> weights,
    std::shared_ptr<const std::vector<QuantizedEncoderLayer>> quantized) {
  const auto copied = [](const QuantizedProduct& from) {
    Product<std::int16_t> to =
        product<std::int16_t>(from.rows, from.columns, [&](int i, int j) { return from.at(i, j); });
    to.scale = from.scale;
    to.bias = from.bias;
    return to;
  };
  std::vector<ScalarEncoder<Int8>::Layer> layers;
  for (std::size_t i = 0; i < quantized->size(); ++i) {
    const QuantizedEncoderLayer& from = (*quantized)[i];
    auto& to = layers.emplace_back(empty_layer<Int8>(weights->config, weights->layers[i].dilation));
    to.to_units = from.to_units;
    to.convolution = copied(from.convolution);
    to.mix = copied(from.mix);
  }
  return std::make_unique<ScalarEncoder<Int8>>(std::move(weights), std::move(layers));
}

}  // namespace rtengine
