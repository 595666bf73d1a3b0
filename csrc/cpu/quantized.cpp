#include "cpu/quantized.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/kernels_integer.h"

namespace rtengine {
namespace {

constexpr double kLog2E = 1.4426950408889634;
// A gate has long saturated at 60 / log2(e); with this scale at least, that many units fit into 2^29.
constexpr double kLeastGateScale = 64.0 / (1 << 29);
constexpr double kLeastScale = 1e-9;

QuantizedMatrix quantize(int rows, int columns, const std::vector<double>& scale, const auto& weight) {
  QuantizedMatrix m;
  m.rows = rows;
  m.columns = columns;
  m.values.reserve(static_cast<std::size_t>(rows) * columns);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) {
      const double value = std::nearbyint(weight(i, j) / scale[static_cast<std::size_t>(i)]);
      m.values.push_back(static_cast<std::int8_t>(std::clamp(value, -127.0, 127.0)));
    }
    m.scale.push_back(static_cast<float>(scale[static_cast<std::size_t>(i)]));
  }
  return m;
}

// For each row, the scale with which its greatest weight becomes 127; rounded to float32, as it is used.
std::vector<double> row_scales(int rows, int columns, double least, const auto& weight) {
  std::vector<double> scales;
  for (int i = 0; i < rows; ++i) {
    double most = 0.0;
    for (int j = 0; j < columns; ++j) most = std::max(most, std::fabs(weight(i, j)));
    scales.push_back(static_cast<double>(static_cast<float>(std::max(most / 127.0, least))));
  }
  return scales;
}

QuantizedMatrix quantize_plain(const std::vector<float>& m, int rows, int columns, double input_unit) {
  const auto weight = [&](int i, int j) { return m[static_cast<std::size_t>(i) * columns + j] * input_unit; };
  return quantize(rows, columns, row_scales(rows, columns, kLeastScale, weight), weight);
}

// Matrix `index` of [matrices, rows, columns].
QuantizedMatrix coded(const std::vector<std::int8_t>& codes, const std::vector<float>& scales, int index, int rows,
                      int columns) {
  const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(index) * rows;
  const auto values = codes.begin() + row * columns;
  const auto scale = scales.begin() + row;
  return {rows, columns, {values, values + static_cast<std::ptrdiff_t>(rows) * columns}, {scale, scale + rows}};
}

QuantizedLayer quantize_layer(const LayerWeights& from, const DecoderConfig& config, const float* ranges,
                              const Codes* codes, int index) {
  const int r = config.residual_channels, s = config.skip_channels, l = config.latent_channels;
  QuantizedLayer to;
  to.dilation = from.dilation;

  // A channel that never moved in the calibration gets a unit too: a 128th of the greatest, far above its noise.
  const float most = *std::max_element(ranges, ranges + r), least = most > 0.0f ? most / 128.0f : 1.0f;
  std::vector<double> unit;
  for (int j = 0; j < r; ++j) {
    to.to_units.push_back(static_cast<float>(kGreatest8) / std::max(ranges[j], least));
    unit.push_back(1.0 / to.to_units.back());
  }
  const auto tap = [&](int which) {
    return [&, which](int i, int j) {
      return from.dilated[(static_cast<std::size_t>(i) * r + j) * 2 + which] * unit[static_cast<std::size_t>(j)];
    };
  };
  const auto both = [&](int i, int j) { return tap(j % 2)(i, j / 2); };
  const std::vector<double> scales =
      codes ? row_scales(2 * r, r, kLeastGateScale, tap(0)) : row_scales(2 * r, 2 * r, kLeastGateScale, both);
  to.past = quantize(2 * r, r, scales, tap(0));
  to.now = codes ? coded(codes->now, codes->now_scale, index, 2 * r, r) : quantize(2 * r, r, scales, tap(1));
  for (int i = 0; i < 2 * r; ++i) {
    const std::size_t row = static_cast<std::size_t>(i);
    const double exponent = i < r ? -kLog2E : -2.0 * kLog2E;
    to.gate_scale.push_back(static_cast<float>(scales[row] * exponent));
    to.now_gate_scale.push_back(static_cast<float>(static_cast<double>(to.now.scale[row]) * exponent));
    to.bias.push_back(
        static_cast<float>((static_cast<double>(from.dilated_bias[row]) + from.latent_bias[row]) / scales[row]));
    for (int j = 0; j < l; ++j) to.latent.push_back(static_cast<float>(from.latent[row * l + j] / scales[row]));
  }

  constexpr double kZUnit = 1.0 / kGreatest8;
  to.residual =
      codes ? coded(codes->residual, codes->residual_scale, index, r, r) : quantize_plain(from.residual, r, r, kZUnit);
  to.skip = codes ? coded(codes->skip, codes->skip_scale, index, s, r) : quantize_plain(from.skip, s, r, kZUnit);
  for (int i = 0; i < r; ++i) {
    const std::size_t row = static_cast<std::size_t>(i);
    const double units = std::nearbyint(static_cast<double>(from.residual_bias[row]) / to.residual.scale[row]);
    to.residual_bias.push_back(static_cast<std::int32_t>(std::clamp(units, -1e9, 1e9)));
  }
  return to;
}

void check(const Codes& codes, const DecoderConfig& config) {
  const auto matrix = [&](const char* name, const std::vector<std::int8_t>& values, const std::vector<float>& scales,
                          int rows) {
    const std::size_t all = static_cast<std::size_t>(config.total_layers()) * rows;
    if (scales.size() != all || values.size() != all * static_cast<std::size_t>(config.residual_channels))
      throw std::invalid_argument("codes: " + std::string(name) + ": expected " + std::to_string(all) + " rows of " +
                                  std::to_string(config.residual_channels) + ", found " +
                                  std::to_string(scales.size()) + " scales and " + std::to_string(values.size()) +
                                  " codes");
    for (const std::int8_t value : values)
      if (value < -8 || value > 7)
        throw std::invalid_argument("codes: " + std::string(name) + ": expected -8 to 7, found " +
                                    std::to_string(value));
    for (const float scale : scales)
      if (!(scale > 0.0f && scale < 1e6f))
        throw std::invalid_argument("codes: " + std::string(name) + ": expected scales above 0, found " +
                                    std::to_string(scale));
  };
  matrix("now", codes.now, codes.now_scale, 2 * config.residual_channels);
  matrix("residual", codes.residual, codes.residual_scale, config.residual_channels);
  matrix("skip", codes.skip, codes.skip_scale, config.skip_channels);
}

}  // namespace

QuantizedDecoder::QuantizedDecoder(DecoderWeights given, const std::vector<float>& ranges, const Codes* codes)
    : weights(std::move(given)), four_bits(codes != nullptr) {
  const DecoderConfig& config = weights.config;
  const int r = config.residual_channels, s = config.skip_channels;

  const std::size_t expected = static_cast<std::size_t>(config.total_layers()) * r;
  if (ranges.size() != expected)
    throw std::invalid_argument("precision int8: expected a calibration of " + std::to_string(config.total_layers()) +
                                " layers x " + std::to_string(r) + " channels, found " +
                                (ranges.empty() ? "none" : std::to_string(ranges.size()) + " numbers"));
  for (const float range : ranges)
    if (!std::isfinite(range) || range < 0.0f)
      throw std::invalid_argument("calibration: expected finite numbers from 0 up, found " + std::to_string(range));

  if (codes) check(*codes, config);
  for (int i = 0; i < config.total_layers(); ++i)
    layers.push_back(quantize_layer(weights.layers[static_cast<std::size_t>(i)], config,
                                    ranges.data() + static_cast<std::size_t>(i) * r, codes, i));
  output = quantize_plain(weights.output, s, s, 1.0);
  logits = quantize_plain(weights.logits, kClasses, s, 1.0);
  skip_input = weights.skip_input();
}

std::int64_t QuantizedDecoder::bytes_per_sample() const {
  const std::int64_t r = weights.config.residual_channels, s = weights.config.skip_channels;
  // Weights of a byte, or half of one; a scale a row, in int4 of either tap; the input's units; the residual's bias.
  const std::int64_t halved = four_bits ? 2 : 1;
  const std::int64_t gated = 2 * r * r + 2 * r * r / halved + halved * 4 * 2 * r + 4 * r;
  const std::int64_t mix = (r + s) * (r / halved + 4) + 4 * r;
  const std::int64_t ends = 4 * 3 * (r + s) + s * (s + 8) + kClasses * (s + 8);
  return weights.config.total_layers() * (gated + mix) + ends;
}

}  // namespace rtengine
