#include "cuda/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "cpu/bf16.h"

namespace rtcuda {
namespace {

using rtengine::DecoderWeights;
using rtengine::LayerWeights;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::uint16_t to_half(float value) {  // to nearest, ties to even
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65520.0f))
    throw std::invalid_argument("precision fp16: expected weights below 65520, found " + std::to_string(value));
  if (magnitude < 0x1p-14f) return static_cast<std::uint16_t>(sign | std::lrint(magnitude * 0x1p24f));
  std::memcpy(&bits, &magnitude, sizeof bits);
  const std::uint32_t rounded = bits + 0xFFFu + (bits >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

// The rows of all records, in float32, before they are stored in a precision.
class Rows {
 public:
  Rows(const DecoderWeights& weights, int channels)
      : w_(weights),
        r_(weights.config.residual_channels),
        s_(weights.config.skip_channels),
        layers_(weights.config.total_layers()),
        channels_(channels) {
    for (int i = 1; i < layers_; ++i) fused_.push_back(compose(i));
  }

  // Weight of a column in row `matrix` of a record.
  float at(int step, int channel, int matrix, int column) const {
    if (step == layers_ + 1) return matrix == 0 ? square(w_.output, channel, column, s_, s_) : 0.0f;
    if (step == layers_ + 2) {
      static constexpr int kRowOf[kMatrices] = {0, -1, 1, -1, 2, 3, -1, -1};
      const int label = kRowOf[matrix] * channels_ + channel;
      if (kRowOf[matrix] < 0 || label >= kClassCount) return 0.0f;
      return square(w_.logits, label, column, kClassCount, s_);
    }
    const int half = matrix == 2 || matrix == 3 || matrix == 7 ? 1 : 0;
    switch (matrix) {
      case 0:
      case 2:
        return step < layers_ ? tap(step, channel, half, column, 1) : 0.0f;
      case 1:
      case 3:
        return step > 0 && step < layers_ && channel < r_ && column < r_
                   ? fused_[size(step - 1)][size((half * r_ + channel) * r_ + column)]
                   : 0.0f;
      case 4:
        return step > 0 && step < layers_ ? square(before(step).residual, channel, column, r_, r_) : 0.0f;
      case 5:
        return step > 0 ? square(before(step).skip, channel, column, s_, r_) : 0.0f;
      default:
        return step > 0 ? tap(step - 1, channel, half, column, 0) : 0.0f;
    }
  }

 private:
  const LayerWeights& before(int step) const { return w_.layers[size(step - 1)]; }
  static float square(const std::vector<float>& m, int row, int column, int rows, int columns) {
    return row < rows && column < columns ? m[size(row * columns + column)] : 0.0f;
  }
  float tap(int layer, int channel, int half, int column, int which) const {
    if (channel >= r_ || column >= r_) return 0.0f;
    return w_.layers[size(layer)].dilated[size(((half * r_ + channel) * r_ + column) * 2 + which)];
  }
  std::vector<float> compose(int layer) const {  // [2R, R]
    const LayerWeights& now = w_.layers[size(layer)];
    const std::vector<float>& residual = w_.layers[size(layer - 1)].residual;
    std::vector<float> out(size(2 * r_ * r_));
    std::vector<double> row(size(r_));
    for (int i = 0; i < 2 * r_; ++i) {
      std::fill(row.begin(), row.end(), 0.0);
      for (int j = 0; j < r_; ++j) {
        const double through = now.dilated[size((i * r_ + j) * 2 + 1)];
        for (int k = 0; k < r_; ++k) row[size(k)] += through * residual[size(j * r_ + k)];
      }
      for (int k = 0; k < r_; ++k) out[size(i * r_ + k)] = static_cast<float>(row[size(k)]);
    }
    return out;
  }

  const DecoderWeights& w_;
  int r_, s_, layers_, channels_;
  std::vector<std::vector<float>> fused_;
};

// Weight `column` (0 or 1 of a lane's) of a row into its place in the lane's words; see weight_format.h.
void put(QuadWords* parts, int part_stride, Precision precision, int matrix, int column, float value, float scale) {
  const auto word = [&](int index) -> std::uint32_t& { return parts[index / 4 * part_stride].w[index % 4]; };
  switch (precision) {
    case Precision::kFloat16:
      word(matrix) |= std::uint32_t{to_half(value)} << (16 * column);
      break;
    case Precision::kBf16:
      word(matrix) |= std::uint32_t{rtengine::to_bf16(value).bits} << (16 * column);
      break;
    case Precision::kFloat32:
      std::memcpy(&word(matrix * 2 + column), &value, sizeof value);
      break;
    case Precision::kInt8: {
      const long code = scale > 0.0f ? std::clamp(std::lrint(value / scale), -127l, 127l) : 0;
      word(matrix / 2) |= static_cast<std::uint32_t>(code + 128) << (16 * (matrix % 2) + 8 * column);
      break;
    }
  }
}

int divisor_up_to(int n, int most) {
  for (int d = std::min(n, most); d > 1; --d)
    if (n % d == 0) return d;
  return 1;
}

}  // namespace

Precision precision_of(const std::string& name) {
  for (int i = 0; i < 4; ++i)
    if (name == kPrecisionNames[i]) return static_cast<Precision>(i);
  throw std::invalid_argument("expected a precision of the GPU, fp16, bf16, fp32 or int8, found \"" + name + "\"");
}

int parts_of(Precision precision) {
  return precision == Precision::kFloat32 ? 4 : precision == Precision::kInt8 ? 1 : 2;
}

PackedWeights pack(const DecoderWeights& w, Precision precision, int team_blocks, int most_warps) {
  if (team_blocks < 1 || team_blocks > kMostTeamBlocks || (team_blocks & (team_blocks - 1)))
    throw std::invalid_argument("expected a team of 1, 2, 4, 8 or 16 blocks, found " + std::to_string(team_blocks));
  const rtengine::DecoderConfig& config = w.config;
  const int r = config.residual_channels, s = config.skip_channels;
  PackedWeights p;
  p.precision = precision;
  Shape& shape = p.shape;
  shape.layers = config.total_layers();
  shape.layers_a_block = config.layers;
  shape.latent = config.latent_channels;
  shape.channels = (std::max(r, s) + kColumns - 1) / kColumns * kColumns;
  shape.team_blocks = team_blocks;
  const int own = shape.channels / team_blocks;
  shape.warps = divisor_up_to(own, std::clamp(most_warps, 1, kMostWarps));
  shape.per_warp = own / shape.warps;
  const int c = shape.channels, steps = shape.steps(), groups = shape.column_groups(), parts = parts_of(precision);
  p.ring_rows = shape.ring_start(shape.layers - 1) + shape.dilation(shape.layers - 1);

  const Rows rows(w, c);
  p.records.assign(size(std::int64_t{steps} * c * groups * parts * kLanes), QuadWords{});
  if (precision == Precision::kInt8) p.scales.assign(size(std::int64_t{steps} * c * kMatrices), 0.0f);
  for (int channel = 0; channel < c; ++channel)
    for (int step = 0; step < steps; ++step) {
      // [N, W] is channel / per_warp; a warp's records are by step, then by channel.
      const std::int64_t record =
          std::int64_t{channel / shape.per_warp} * shape.records() + step * shape.per_warp + channel % shape.per_warp;
      for (int matrix = 0; matrix < kMatrices; ++matrix) {
        float most = 0.0f;
        if (precision == Precision::kInt8) {
          for (int column = 0; column < c; ++column)
            most = std::max(most, std::fabs(rows.at(step, channel, matrix, column)));
          p.scales[size(record * kMatrices + matrix)] = most / 127.0f;
        }
        for (int column = 0; column < c; ++column) {
          const int group = column / kColumns, lane = column % kColumns / 2;
          QuadWords* const at = &p.records[size(((record * groups + group) * parts) * kLanes + lane)];
          put(at, kLanes, precision, matrix, column % 2, rows.at(step, channel, matrix, column), most / 127.0f);
        }
      }
    }

  const rtengine::SkipInput skip = w.skip_input();
  const int layers = shape.layers;
  p.input.assign(size(3 * c), 0.0f);
  p.skip_input.assign(size(3 * c), 0.0f);
  for (int j = 0; j < r; ++j) {
    p.input[size(j)] = w.input[size(2 * j)];
    p.input[size(c + j)] = w.input[size(2 * j + 1)];
    p.input[size(2 * c + j)] = w.input_bias[size(j)];
  }
  for (int j = 0; j < s; ++j) {
    p.skip_input[size(j)] = skip.older[size(j)];
    p.skip_input[size(c + j)] = skip.newer[size(j)];
    p.skip_input[size(2 * c + j)] = skip.bias[size(j)];
  }
  p.residual_bias.assign(size((layers + 1) * c), 0.0f);
  p.base_bias.assign(size(2 * c * (layers + 1)), 0.0f);
  p.latent.assign(size(std::int64_t{2} * c * shape.latent * (layers + 1)), 0.0f);
  const auto set_base = [&](int layer, int channel, int half, double bias, const float* latent) {
    const std::int64_t row = channel * 2 + half;
    p.base_bias[size(row * (layers + 1) + layer)] = static_cast<float>(bias);
    for (int j = 0; j < shape.latent; ++j) p.latent[size((row * shape.latent + j) * (layers + 1) + layer)] = latent[j];
  };
  for (int i = 0; i < layers; ++i) {
    const LayerWeights& layer = w.layers[size(i)];
    for (int channel = 0; channel < r; ++channel) {
      if (i > 0) p.residual_bias[size(i * c + channel)] = w.layers[size(i - 1)].residual_bias[size(channel)];
      for (int half = 0; half < 2; ++half) {
        const int row = half * r + channel;
        double bias = static_cast<double>(layer.dilated_bias[size(row)]) + layer.latent_bias[size(row)];
        for (int j = 0; i > 0 && j < r; ++j)  // the current tap sees the residual bias of the layer before
          bias += static_cast<double>(layer.dilated[size((row * r + j) * 2 + 1)]) *
                  w.layers[size(i - 1)].residual_bias[size(j)];
        set_base(i, channel, half, bias, &layer.latent[size(row * shape.latent)]);
      }
    }
  }
  for (int channel = 0; channel < s; ++channel)
    set_base(layers, channel, 0,
             static_cast<double>(w.output_bias[size(channel)]) + w.output_latent_bias[size(channel)],
             &w.output_latent[size(channel * shape.latent)]);
  p.logits_bias = w.logits_bias;
  return p;
}

}  // namespace rtcuda
