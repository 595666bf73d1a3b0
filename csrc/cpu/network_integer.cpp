#include "cpu/network_integer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cpu/arena.h"
#include "cpu/kernels_integer.h"

namespace rtengine {
namespace {

const IntegerKernels& kernels_of(Isa isa, bool four_bits) {
#if defined(__x86_64__) || defined(_M_X64)
  if (isa == Isa::kAvx512Vnni) return four_bits ? kAvx512VnniInt4Kernels : kAvx512VnniInt8Kernels;
  if (isa == Isa::kAvxVnni) return four_bits ? kAvxVnniInt4Kernels : kAvxVnniInt8Kernels;
  if (isa == Isa::kAvx2) return four_bits ? kAvx2Int4Kernels : kAvx2Int8Kernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
  if (isa == Isa::kNeonDot) return four_bits ? kNeonDotInt4Kernels : kNeonDotInt8Kernels;
  if (isa == Isa::kNeon) return four_bits ? kNeonInt4Kernels : kNeonInt8Kernels;
#endif
  throw std::logic_error(std::string("no integer kernels for ") + isa_name(isa));
}

// Rows of a padded matrix: which matrix and row a packed row is, or none in the padding.
struct Row {
  const QuantizedMatrix* matrix = nullptr;
  int row = 0;
};

}  // namespace

class PackedIntegers {
 public:
  PackedIntegers(const QuantizedDecoder& weights, Isa isa)
      : kernels(kernels_of(isa, weights.four_bits)), four_bits_(weights.four_bits) {
    const DecoderConfig& config = weights.weights.config;
    r_ = config.residual_channels;
    s_ = config.skip_channels;
    decoder.l = config.latent_channels;
    decoder.section_rows = four_bits_ ? 2 * kUnitRows : kUnitRows;
    decoder.r = round_up(r_, decoder.section_rows);
    decoder.s = round_up(s_, decoder.section_rows);
    decoder.layer_count = config.total_layers();
    layers_.resize(static_cast<std::size_t>(decoder.layer_count));
    decoder.layers = layers_.data();
    constexpr std::size_t kSlack = 8192;  // bytes that a processor may prefetch beyond
    arena_.build([&] { lay_out(weights); }, kSlack);
  }
  PackedIntegers(const PackedIntegers&) = delete;
  PackedIntegers& operator=(const PackedIntegers&) = delete;

  const IntegerKernels& kernels;
  IntegerDecoder decoder;
  std::size_t history_bytes = 0, past_sums = 0;  // of one slot

 private:
  // What a sample reads lies in the order in which `step` reads it; the past taps, read now and then, come after.
  void lay_out(const QuantizedDecoder& q) {
    const DecoderWeights& w = q.weights;
    const int r = decoder.r, s = decoder.s, last = decoder.layer_count - 1;
    decoder.input_older = vector<float>(r, r_, [&](int i) { return w.input[2 * i]; });
    decoder.input_newer = vector<float>(r, r_, [&](int i) { return w.input[2 * i + 1]; });
    decoder.input_bias = vector<float>(r, r_, [&](int i) { return w.input_bias[i]; });
    decoder.skip_older = vector<float>(s, s_, [&](int i) { return q.skip_input.older[i]; });
    decoder.skip_newer = vector<float>(s, s_, [&](int i) { return q.skip_input.newer[i]; });
    decoder.skip_bias = vector<float>(s, s_, [&](int i) { return q.skip_input.bias[i]; });

    const auto units = [&](int layer) {
      return vector<float>(r, r_, [&](int j) { return q.layers[static_cast<std::size_t>(layer)].to_units[j]; });
    };
    const auto skip_row = [&](int layer, int row) {
      return Row{row < s_ ? &q.layers[static_cast<std::size_t>(layer)].skip : nullptr, row};
    };
    decoder.first_units = units(0);
    history_bytes = past_sums = 0;
    for (int i = 0; i <= last; ++i) {
      const QuantizedLayer& from = q.layers[static_cast<std::size_t>(i)];
      IntegerLayer& to = layers_[static_cast<std::size_t>(i)];
      to.dilation = from.dilation;
      to.ahead = std::min(from.dilation, kAheadSamples);
      to.ahead_log2 = std::countr_zero(static_cast<unsigned>(to.ahead));
      to.history = std::exchange(history_bytes, history_bytes + static_cast<std::size_t>(from.dilation) * r);
      to.past_sums = std::exchange(past_sums, past_sums + static_cast<std::size_t>(to.ahead) * 2 * r);
      to.scale = vector<float>(2 * r, 2 * r, [&](int j) {
        const Row row = gated(from.now, j);
        return row.matrix ? from.gate_scale[row.row] : 0.0f;
      });
      to.now_scale = to.scale;
      if (four_bits_)
        to.now_scale = vector<float>(2 * r, 2 * r, [&](int j) {
          const Row row = gated(from.now, j);
          return row.matrix ? from.now_gate_scale[row.row] : 0.0f;
        });
      // The last layer's residual has no use, and the first one has no layer before it.
      const MixRows rows = mix_rows(decoder, i);
      const auto mixed = [&](int row) {
        if (row < rows.skip_before) return skip_row(i - 1, row);
        if (row >= rows.skip_before + rows.residual) return skip_row(i - 1, row - rows.residual);
        const int channel = row - rows.skip_before;
        return Row{channel < r_ ? &from.residual : nullptr, channel};
      };
      to.mix_scale = vector<float>(rows.all(), rows.all(), [&](int j) { return scale(mixed(j)); });
      to.mix_base = vector<std::int32_t>(rows.all(), rows.all(), [&](int j) {
        const Row row = mixed(j);
        return (row.matrix == &from.residual ? from.residual_bias[row.row] : 0) - kernels.input_offset * sum(row);
      });
      to.next_units = i < last ? units(i + 1) : nullptr;
      to.now = layer_matrix(2 * r, [&](int row) { return gated(from.now, row); });
      to.mix = layer_matrix(rows.skip_before, mixed);
      layer_matrix(rows.residual, [&](int row) { return mixed(rows.skip_before + row); });
      layer_matrix(rows.skip_after, [&](int row) { return mixed(rows.skip_before + rows.residual + row); });
    }
    decoder.last_skip = layer_matrix(s, [&](int row) { return skip_row(last, row); });
    decoder.last_skip_scale = vector<float>(s, s, [&](int row) { return scale(skip_row(last, row)); });
    decoder.last_skip_base =
        vector<std::int32_t>(s, s, [&](int row) { return -kernels.input_offset * sum(skip_row(last, row)); });
    output(q.output, s, &decoder.output);
    output(q.logits, kClasses, &decoder.logits);
    decoder.logits_bias = vector<float>(kClasses, kClasses, [&](int i) { return w.logits_bias[i]; });

    for (int i = 0; i <= last; ++i) {
      const QuantizedLayer& from = q.layers[static_cast<std::size_t>(i)];
      IntegerLayer& to = layers_[static_cast<std::size_t>(i)];
      to.past = matrix(2 * r, r, 1, [&](int row) { return gated(from.past, row); });
      to.past_base = vector<std::int32_t>(2 * r, 2 * r, [&](int j) {
        const Row row = gated(from.past, j);
        return (kernels.inverts ? negative_sum(row) : 0) - kernels.offset * sum(row);
      });
    }
    for (int i = 0; i <= last; ++i) {
      const QuantizedLayer& from = q.layers[static_cast<std::size_t>(i)];
      IntegerLayer& to = layers_[static_cast<std::size_t>(i)];
      to.base = vector<std::int32_t>(2 * r, 2 * r,
                                     [&](int row) { return -kernels.input_offset * sum(gated(from.now, row)); });
      to.bias = vector<float>(2 * r, 2 * r, [&](int j) {
        const Row row = gated(from.now, j);
        return row.matrix ? from.bias[row.row] : 0.0f;
      });
      to.latent = vector<float>(decoder.l * 2 * r, decoder.l * 2 * r, [&](int place) {
        const Row row = gated(from.now, place % (2 * r));
        return row.matrix ? from.latent[row.row * decoder.l + place / (2 * r)] : 0.0f;
      });
    }
    decoder.output_bias = vector<float>(s, s_, [&](int i) { return w.output_bias[i] + w.output_latent_bias[i]; });
    decoder.output_latent = vector<float>(decoder.l * s, decoder.l * s, [&](int place) {
      const int row = place % s;
      return row < s_ ? w.output_latent[row * decoder.l + place / s] : 0.0f;
    });
  }

  void output(const QuantizedMatrix& from, int rows, IntegerOutput* to) {
    const auto row = [&](int i) { return Row{i < from.rows ? &from : nullptr, i}; };
    to->weights = matrix(rows, decoder.s, kernels.tile_units, row);
    to->scale = vector<float>(rows, rows, [&](int i) { return scale(row(i)); });
    to->base = vector<std::int32_t>(rows, rows, [&](int i) {  // both planes have the offset: 257 times
      return -257 * kernels.offset * sum(row(i));
    });
  }

  // A packed row of a gated convolution: units of 16 gates and 16 contents by turns.
  Row gated(const QuantizedMatrix& m, int packed) const {
    const int unit = packed / kUnitRows, channel = unit / 2 * kUnitRows + packed % kUnitRows;
    return {channel < r_ ? &m : nullptr, unit % 2 * r_ + channel};
  }

  static float scale(const Row& row) {
    return row.matrix ? row.matrix->scale[static_cast<std::size_t>(row.row)] : 0.0f;
  }

  static std::int32_t sum(const Row& row) {
    std::int32_t sum = 0;
    if (row.matrix)
      for (int j = 0; j < row.matrix->columns; ++j) sum += row.matrix->at(row.row, j);
    return sum;
  }

  static std::int32_t negative_sum(const Row& row) {  // of magnitudes
    std::int32_t sum = 0;
    if (row.matrix)
      for (int j = 0; j < row.matrix->columns; ++j) sum += std::max(-row.matrix->at(row.row, j), 0);
    return sum;
  }

  template <class T, class Value>
  const T* vector(int count, int filled, const Value& value) {
    T* to = arena_.place<T>(static_cast<std::size_t>(count));
    if (to)
      for (int i = 0; i < filled; ++i) to[i] = value(i);
    return to;
  }

  template <class RowOf>
  const std::int8_t* matrix(int rows, int columns, int tile_units, const RowOf& row_of) {
    std::int8_t* const start = arena_.place<std::int8_t>(static_cast<std::size_t>(rows) * columns);
    if (!start) return nullptr;
    const int units = rows / kUnitRows;
    std::int8_t* to = start;
    for (int first = 0, tile = tile_units; first < units; first += tile) {
      while (tile > units - first) tile /= 2;
      for (int group = 0; group < columns; group += 4)
        for (int i = first * kUnitRows; i < (first + tile) * kUnitRows; ++i) {
          const Row row = row_of(i);
          for (int j = group; j < group + 4; ++j)
            *to++ = row.matrix && j < row.matrix->columns ? row.matrix->at(row.row, j) : std::int8_t{0};
        }
    }
    return start;
  }

  // A matrix of the layers [rows, R] as the kernels' `Weights` take it.
  template <class RowOf>
  const std::int8_t* layer_matrix(int rows, const RowOf& row_of) {
    return four_bits_ ? halves(rows, decoder.r, row_of) : matrix(rows, decoder.r, kernels.tile_units, row_of);
  }

  // Two units of rows in the upper and the lower halves of the same bytes, every code plus 8.
  template <class RowOf>
  const std::int8_t* halves(int rows, int columns, const RowOf& row_of) {
    std::int8_t* const start = arena_.place<std::int8_t>(static_cast<std::size_t>(rows) * columns / 2);
    if (!start) return nullptr;
    const auto half = [&](int i, int j) {
      const Row row = row_of(i);
      return static_cast<unsigned>((row.matrix && j < row.matrix->columns ? row.matrix->at(row.row, j) : 0) + 8);
    };
    const int units = rows / kUnitRows;
    std::int8_t* to = start;
    for (int first = 0, tile = kernels.tile_units; first < units; first += tile) {
      while (tile > units - first) tile /= 2;
      for (int group = 0; group < columns; group += 4)
        for (int pair = first; pair < first + tile; pair += 2)
          for (int i = pair * kUnitRows; i < (pair + 1) * kUnitRows; ++i)
            for (int j = group; j < group + 4; ++j)
              *to++ = static_cast<std::int8_t>(half(i, j) << 4 | half(i + kUnitRows, j));
    }
    return start;
  }

  bool four_bits_;
  int r_ = 0, s_ = 0;  // without padding
  std::vector<IntegerLayer> layers_;
  Arena arena_;
};

namespace {

class IntegerNetwork final : public Network {
 public:
  explicit IntegerNetwork(std::shared_ptr<const PackedIntegers> weights) : weights_(std::move(weights)) {
    const IntegerDecoder& d = weights_->decoder;
    const std::size_t r = static_cast<std::size_t>(d.r), s = static_cast<std::size_t>(d.s);
    arena_.build([&] {
      slot_.x = arena_.place<float>(r);
      slot_.gated = arena_.place<float>(2 * r);
      slot_.planes = arena_.place<std::uint8_t>(2 * s);
      slot_.current = arena_.place<std::uint8_t>(r);
      slot_.z = arena_.place<std::uint8_t>(2 * r);
      slot_.sums = arena_.place<std::int32_t>(3);
      slot_.skip = arena_.place<float>(s);
      slot_.hidden = arena_.place<float>(s);
      slot_.logits = arena_.place<float>(kClasses);
      slot_.probabilities = arena_.place<float>(kClasses);
      slot_.output_conditioning = arena_.place<float>(s);
      latent_ = arena_.place<float>(static_cast<std::size_t>(d.l));
      slot_.base = arena_.place<std::int32_t>(2 * r * static_cast<std::size_t>(d.layer_count));
      slot_.past_sums = arena_.place<std::int32_t>(weights_->past_sums);
      slot_.histories = arena_.place<std::uint8_t>(weights_->history_bytes);
    });
    slot_.latent = latent_;
    reset();
  }

  void reset() noexcept override {
    std::memset(slot_.histories, weights_->kernels.offset, weights_->history_bytes);
    std::memset(slot_.past_sums, 0, weights_->past_sums * sizeof(std::int32_t));
    slot_.position = 0;
  }

  void begin_hop(const float* latent) noexcept override {
    std::memcpy(latent_, latent, static_cast<std::size_t>(weights_->decoder.l) * sizeof(float));
    weights_->kernels.begin_hop(weights_->decoder, slot_);
  }

  const float* step(float older, float newer) noexcept override {
    IntegerSlot* slot = &slot_;
    weights_->kernels.step(weights_->decoder, &slot, 1, &older, &newer);
    return slot_.logits;
  }

  void step_together(Network* const* networks, int count, const float* older, const float* newer) noexcept override {
    IntegerSlot* slots[kMostSlots];
    for (int i = 0; i < count; ++i) slots[i] = &static_cast<IntegerNetwork*>(networks[i])->slot_;
    weights_->kernels.step(weights_->decoder, slots, count, older, newer);
  }

  const float* logits() const noexcept override { return slot_.logits; }

  int sample(float temperature, float uniform) noexcept override {
    return weights_->kernels.sample(slot_, temperature, uniform);
  }

  int most_probable() noexcept override { return weights_->kernels.most_probable(slot_); }

 private:
  std::shared_ptr<const PackedIntegers> weights_;
  IntegerSlot slot_;
  float* latent_ = nullptr;
  Arena arena_;
};

}  // namespace

std::shared_ptr<const PackedIntegers> pack_integers(const QuantizedDecoder& weights, Isa isa) {
  return std::make_shared<const PackedIntegers>(weights, isa);
}

std::unique_ptr<Network> make_integer_network(std::shared_ptr<const PackedIntegers> weights) {
  return std::make_unique<IntegerNetwork>(std::move(weights));
}

}  // namespace rtengine
