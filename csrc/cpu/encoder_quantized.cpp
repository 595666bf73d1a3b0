#include "cpu/encoder_quantized.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>

namespace rtengine {
namespace {

// A channel that was silent in the calibration gets a sixteenth of its layer's greatest range: what it may carry later
// would otherwise be cut off, and in units so small against the others' its rounding is not heard.
constexpr float kSmallestShare = 1.0f / 16.0f;
constexpr float kSilence = 1e-20f;  // a layer that was silent altogether

void check(const char* name, const std::vector<float>& ranges, std::size_t expected) {
  const std::string what = std::string("calibration: expected ") + name;
  if (ranges.size() != expected)
    throw std::invalid_argument(what + " of " + std::to_string(expected) + " numbers, found " +
                                std::to_string(ranges.size()));
  for (const float range : ranges)
    if (!(std::isfinite(range) && range >= 0.0f))
      throw std::invalid_argument(what + " of finite magnitudes, found " + std::to_string(range));
}

// Units of each channel of a layer, in float32: real value = units * unit.
std::vector<float> units(const float* ranges, std::size_t c, float greatest) {
  const float most = std::max(*std::max_element(ranges, ranges + c), kSilence);
  std::vector<float> unit(c);
  for (std::size_t i = 0; i < c; ++i) unit[i] = std::max(ranges[i], kSmallestShare * most) / greatest;
  return unit;
}

// value(row, column): weights of inputs in units.
QuantizedProduct quantize_rows(int rows, int columns, const std::function<double(int, int)>& value,
                               const std::vector<float>& bias) {
  QuantizedProduct product{rows, columns, {}, {}, bias};
  product.values.reserve(static_cast<std::size_t>(rows) * columns);
  for (int i = 0; i < rows; ++i) {
    double most = 0.0;
    for (int j = 0; j < columns; ++j) most = std::max(most, std::fabs(value(i, j)));
    const double scale = most > 1e-30 ? most / kSignedUnits : 1.0;
    for (int j = 0; j < columns; ++j)
      product.values.push_back(
          static_cast<std::int8_t>(std::nearbyint(std::clamp(value(i, j) / scale, -127.0, 127.0))));
    product.scale.push_back(static_cast<float>(scale));
  }
  return product;
}

}  // namespace

std::vector<QuantizedEncoderLayer> quantize(const EncoderWeights& weights, const EncoderRanges& ranges) {
  const EncoderConfig& config = weights.config;
  const int c = config.channels, k = config.kernel_size;
  const std::size_t width = static_cast<std::size_t>(c), count = weights.layers.size() * width;
  check("input", ranges.input, count);
  check("hidden", ranges.hidden, config.pre_activation ? 0 : count);

  std::vector<QuantizedEncoderLayer> layers;
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    const EncoderLayerWeights& from = weights.layers[i];
    QuantizedEncoderLayer& to = layers.emplace_back();
    const float greatest = config.pre_activation ? kUnsignedUnits : kSignedUnits;
    const std::vector<float> unit = units(&ranges.input[i * width], width, greatest);
    for (const float u : unit) to.to_units.push_back(1.0f / u);
    to.convolution = quantize_rows(
        c, k * c,
        [&](int row, int column) {
          const int tap = column / c, channel = column % c;
          return static_cast<double>(from.convolution[(static_cast<std::size_t>(row) * c + channel) * k + tap]) *
                 unit[static_cast<std::size_t>(channel)];
        },
        from.convolution_bias);
    if (config.pre_activation) continue;
    const std::vector<float> hidden = units(&ranges.hidden[i * width], width, kUnsignedUnits);
    for (std::size_t j = 0; j < width; ++j) {
      to.convolution.scale[j] /= hidden[j];
      to.convolution.bias[j] /= hidden[j];
    }
    to.mix = quantize_rows(
        c, c,
        [&](int row, int column) {
          return static_cast<double>(from.mix[static_cast<std::size_t>(row) * c + column]) *
                 hidden[static_cast<std::size_t>(column)];
        },
        from.mix_bias);
  }
  return layers;
}

}  // namespace rtengine
