// The encoder on vector kernels: packs the weights once for all streams, owns each stream's memory.
#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/arena.h"
#include "cpu/encoder_kernels.h"
#include "cpu/encoder_network.h"

namespace rtengine {
namespace {

const EncoderKernels& kernels_of(Isa isa, bool quantized) {
#if defined(__x86_64__) || defined(_M_X64)
  if (isa == Isa::kAvx2) return quantized ? kAvx2Int8EncoderKernels : kAvx2EncoderKernels;
  if (isa == Isa::kAvx512 && !quantized) return kAvx512EncoderKernels;
  if (isa == Isa::kAvxVnni && quantized) return kAvxVnniInt8EncoderKernels;
  if (isa == Isa::kAvx512Vnni && quantized) return kAvx512VnniInt8EncoderKernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
  if (isa == Isa::kNeon) return quantized ? kNeonInt8EncoderKernels : kNeonEncoderKernels;
  if (isa == Isa::kNeonDot && quantized) return kNeonDotInt8EncoderKernels;
#endif
  throw std::logic_error(std::string("no encoder kernels for ") + isa_name(isa));
}

}  // namespace

class PackedEncoderWeights {
 public:
  PackedEncoderWeights(const EncoderWeights& weights, const std::vector<QuantizedEncoderLayer>* quantized, Isa isa)
      : kernels(kernels_of(isa, quantized != nullptr)), config(weights.config), quantized_(quantized) {
    const int k = config.kernel_size, hop = config.hop_samples;
    // Whole vectors, and whole groups of the columns that the next product has of them.
    encoder.c = round_up(config.channels, kernels.width);
    encoder.l = round_up(config.latent_channels, kernels.width);
    encoder.hop = hop;
    encoder.taps = k;
    encoder.pending = static_cast<int>(config.lag_hops() * hop - config.lookahead_samples());
    encoder.pre_activation = config.pre_activation;
    encoder.layer_count = config.total_layers();
    layers_.resize(weights.layers.size() + 1);
    encoder.layers = layers_.data();
    for (std::size_t i = 0; i < weights.layers.size(); ++i) {
      layers_[i].dilation = weights.layers[i].dilation;
      layers_[i].ahead = config.ahead(layers_[i].dilation);
      layers_[i].inputs = ring((k - 1) * layers_[i].dilation, input_elements);
      if (!config.causal) layers_[i].stream = ring(layers_[i].ahead, stream_floats);
    }
    if (config.causal) {  // nothing waits: every layer adds to the same hop
      const EncoderRing shared = ring(0, stream_floats);
      for (PackedEncoderLayer& layer : layers_) layer.stream = shared;
    } else {
      layers_.back().stream = ring(encoder.pending, stream_floats);
    }
    arena_.build([&] { lay_out(weights); });
    quantized_ = nullptr;
  }
  PackedEncoderWeights(const PackedEncoderWeights&) = delete;
  PackedEncoderWeights& operator=(const PackedEncoderWeights&) = delete;

  // Each byte of what a convolution reads as silence.
  int silence() const { return config.pre_activation ? kernels.unsigned_shift : kernels.signed_shift; }

  const EncoderKernels& kernels;
  const EncoderConfig config;
  PackedEncoder encoder;
  std::size_t input_elements = 0, stream_floats = 0;  // of the rings of one stream

 private:
  using Matrix = std::function<float(int row, int column)>;

  // Room for a hop and `before` rows before it, in whole hops.
  EncoderRing ring(int before, std::size_t& elements) const {
    const EncoderRing result{elements, config.hop_samples + round_up(before, config.hop_samples)};
    elements += static_cast<std::size_t>(result.rows) * encoder.c;
    return result;
  }

  void lay_out(const EncoderWeights& w) {
    const int c = config.channels, k = config.kernel_size, l = config.latent_channels;
    const auto at = [](const std::vector<float>& values, int i, int j, int columns) {
      return values[static_cast<std::size_t>(i) * columns + j];
    };
    encoder.input = place(encoder.c, k, [&](int i, int j) { return i < c ? at(w.input, i, j, k) : 0.0f; });
    encoder.input_bias = vector(w.input_bias, encoder.c);
    for (std::size_t i = 0; i < w.layers.size(); ++i) {
      const EncoderLayerWeights& from = w.layers[i];
      PackedEncoderLayer& to = layers_[i];
      if (quantized_) {
        const QuantizedEncoderLayer& q = (*quantized_)[i];
        to.to_units = vector(q.to_units, encoder.c);
        pack(to.convolution, q.convolution, k, !config.pre_activation);
        if (!config.pre_activation) pack(to.mix, q.mix, 1, false);
      } else {
        const Matrix taps = [&](int row, int column) {
          return from.convolution[(row * c + column % c) * k + column / c];
        };
        pack(to.convolution, taps, from.convolution_bias, k);
        if (config.pre_activation) continue;
        pack(to.mix, [&](int row, int column) { return at(from.mix, row, column, c); }, from.mix_bias, 1);
      }
    }
    encoder.latent =
        place(encoder.l, encoder.c, [&](int i, int j) { return i < l && j < c ? at(w.latent, i, j, c) : 0.0f; });
    encoder.latent_bias = vector(w.latent_bias, encoder.l);
  }

  const float* vector(const std::vector<float>& values, int padded) {
    float* to = arena_.place<float>(static_cast<std::size_t>(padded));
    if (to) std::copy(values.begin(), values.end(), to);
    return to;
  }

  // Column by column.
  template <class Value>
  const float* place(int rows, int columns, const Value& value) {
    float* const to = arena_.place<float>(static_cast<std::size_t>(rows) * columns);
    if (to)
      for (int j = 0; j < columns; ++j)
        for (int i = 0; i < rows; ++i) to[j * rows + i] = value(i, j);
    return to;
  }

  // value(row, column) of a matrix [C, taps C], column = tap * C + channel, without padding.
  template <class Weight, class Value>
  const Weight* tiles(int taps, const Value& value) {
    const int c = config.channels, width = kernels.width, group = kernels.group;
    Weight* const start = arena_.place<Weight>(static_cast<std::size_t>(encoder.c) * encoder.c * taps);
    Weight* to = start;
    if (!to) return nullptr;
    for (int first = 0; first < encoder.c;) {
      const int rows = std::min(kernels.tile * width, encoder.c - first);
      for (int tap = 0; tap < taps; ++tap)
        for (int j = 0; j < encoder.c; j += group)
          for (int i = first; i < first + rows; ++i)
            for (int g = j; g < j + group; ++g) *to++ = i < c && g < c ? value(i, tap * c + g) : Weight{};
      first += rows;
    }
    return start;
  }

  void pack(PackedProduct& to, const Matrix& value, const std::vector<float>& bias, int taps) {
    to.taps = taps;
    to.bias = vector(bias, encoder.c);
    to.weights = tiles<float>(taps, value);
  }

  // signed_input: of x in [-127, 127], else from 0 to 255.
  void pack(PackedProduct& to, const QuantizedProduct& from, int taps, bool signed_input) {
    to.taps = taps;
    to.bias = vector(from.bias, encoder.c);
    to.scale = vector(from.scale, encoder.c);
    std::int32_t* base = arena_.place<std::int32_t>(static_cast<std::size_t>(encoder.c));
    to.base = base;
    if (base)
      for (int i = 0; i < from.rows; ++i) {
        std::int32_t sum = 0;
        for (int j = 0; j < from.columns; ++j) sum += from.at(i, j);
        base[i] = -sum * (signed_input ? kernels.signed_shift : kernels.unsigned_shift);
      }
    const auto value = [&](int row, int column) { return from.at(row, column); };
    if (kernels.element_bytes == 1)
      to.weights = tiles<std::int8_t>(taps, value);
    else
      to.weights = tiles<std::int16_t>(taps, value);
  }

  std::vector<PackedEncoderLayer> layers_;
  const std::vector<QuantizedEncoderLayer>* quantized_;  // while packing
  Arena arena_;
};

namespace {

class VectorEncoder final : public EncoderNetwork {
 public:
  explicit VectorEncoder(std::shared_ptr<const PackedEncoderWeights> weights) : weights_(std::move(weights)) {
    const PackedEncoder& e = weights_->encoder;
    const std::size_t bytes = weights_->kernels.element_bytes, c = static_cast<std::size_t>(e.c);
    arena_.build([&] {
      memory_.samples = arena_.place<float>(static_cast<std::size_t>(e.taps - 1 + e.hop));
      memory_.mean = arena_.place<float>(c);
      memory_.latent = arena_.place<float>(static_cast<std::size_t>(e.l));
      memory_.hidden = arena_.place<std::uint8_t>(static_cast<std::size_t>(e.hop) * c * bytes);
      memory_.streams = arena_.place<float>(weights_->stream_floats);
      memory_.inputs = arena_.place<std::uint8_t>(weights_->input_elements * bytes);
    });
    reset();
  }

  void reset() noexcept override {
    const PackedEncoder& e = weights_->encoder;
    std::fill_n(memory_.samples, e.taps - 1 + e.hop, 0.0f);
    std::fill_n(memory_.streams, weights_->stream_floats, 0.0f);
    std::memset(memory_.inputs, weights_->silence(), weights_->input_elements * weights_->kernels.element_bytes);
  }

  const float* step(const float* hop, std::int64_t position, std::int64_t end,
                    EncoderObserver* observer) noexcept override {
    const PackedEncoder& e = weights_->encoder;
    const EncoderKernels& kernels = weights_->kernels;
    memory_.row = position;
    std::copy_n(memory_.samples + e.hop, e.taps - 1, memory_.samples);
    std::copy_n(hop, e.hop, memory_.samples + e.taps - 1);
    kernels.input(e, memory_);
    position -= weights_->config.ahead(1);
    silence_outside(0, position, end);
    for (int i = 0; i < e.layer_count; ++i) {
      kernels.layer(e, i, memory_);
      position -= e.layers[i].ahead;
      if (observer) show(i, position, end, *observer);
      silence_outside(i + 1, position, end);
    }
    kernels.project(e, memory_);
    return memory_.latent;
  }

 private:
  // The rows of this hop that layer i is to read are the samples from `first` on; those outside of the signal are where
  // a whole signal would be padded.
  void silence_outside(int i, std::int64_t first, std::int64_t end) noexcept {
    const PackedEncoder& e = weights_->encoder;
    if (first >= 0 && (end == kNoEnd || first + e.hop <= end)) return;
    const std::size_t row_bytes = weights_->kernels.element_bytes * static_cast<unsigned>(e.c);
    const auto place = [&](const EncoderRing& ring, int t) {
      return ring.offset + static_cast<std::size_t>(memory_.row % ring.rows + t) * static_cast<unsigned>(e.c);
    };
    for (int t = 0; t < e.hop; ++t) {
      if (first + t >= 0 && first + t < end) continue;
      std::fill_n(memory_.streams + place(e.layers[i].stream, t), e.c, 0.0f);
      if (i == e.layer_count) continue;
      std::uint8_t* inputs = static_cast<std::uint8_t*>(memory_.inputs);
      std::memset(inputs + place(e.layers[i].inputs, t) * weights_->kernels.element_bytes, weights_->silence(),
                  row_bytes);
    }
  }

  // The hidden rows of this hop are the samples from `first` on.
  void show(int i, std::int64_t first, std::int64_t end, EncoderObserver& observer) noexcept {
    const PackedEncoder& e = weights_->encoder;
    const EncoderRing& ring = e.layers[i].inputs;
    const float* inputs = static_cast<const float*>(memory_.inputs) + ring.offset;
    const float* hidden = static_cast<const float*>(memory_.hidden);
    for (int t = 0; t < e.hop; ++t) {
      const bool counts = !e.pre_activation && first + t >= 0 && first + t < end;
      observer.row(i, inputs + (memory_.row % ring.rows + t) * e.c, counts ? hidden + t * e.c : nullptr);
    }
  }

  std::shared_ptr<const PackedEncoderWeights> weights_;
  EncoderMemory memory_;
  Arena arena_;
};

}  // namespace

std::shared_ptr<const PackedEncoderWeights> pack_encoder(const EncoderWeights& weights, Isa isa) {
  return std::make_shared<const PackedEncoderWeights>(weights, nullptr, isa);
}

std::shared_ptr<const PackedEncoderWeights> pack_encoder(const EncoderWeights& weights,
                                                         const std::vector<QuantizedEncoderLayer>& quantized, Isa isa) {
  return std::make_shared<const PackedEncoderWeights>(weights, &quantized, isa);
}

std::unique_ptr<EncoderNetwork> make_vector_encoder(std::shared_ptr<const PackedEncoderWeights> weights) {
  return std::make_unique<VectorEncoder>(std::move(weights));
}

}  // namespace rtengine
