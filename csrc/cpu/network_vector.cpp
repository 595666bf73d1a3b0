#include "cpu/network_vector.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cpu/arena.h"
#include "cpu/bf16.h"
#include "cpu/kernels.h"

namespace rtengine {
namespace {

constexpr std::size_t kPrefetchSlack = 4096;  // bytes that a kernel may prefetch beyond the last matrix

const VectorKernels& kernels_of(Isa isa, MatrixFormat format) {
  [[maybe_unused]] const bool bf16 = format == MatrixFormat::kBf16;
#if defined(__x86_64__) || defined(_M_X64)
  if (isa == Isa::kAvx512) return bf16 ? kAvx512Bf16Kernels : kAvx512Kernels;
  if (isa == Isa::kAvx2) return bf16 ? kAvx2Bf16Kernels : kAvx2Kernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
  if (isa == Isa::kNeon) return bf16 ? kNeonBf16Kernels : kNeonKernels;
#endif
  throw std::logic_error(std::string("no vector kernels for ") + isa_name(isa));
}

// Two neighbouring columns' weights of a row as the kernels take them, in the memory of a float.
float word(Bf16 even, Bf16 odd) {
  const std::uint32_t bits = even.bits | static_cast<std::uint32_t>(odd.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Value of a padded matrix or vector; zero in the padding.
using Matrix = std::function<float(int row, int column)>;

}  // namespace

class PackedWeights {
 public:
  PackedWeights(const DecoderWeights& weights, Isa isa) : kernels(kernels_of(isa, weights.format)) {
    const DecoderConfig& config = weights.config;
    const int unit = std::max(kernels.width, kColumns);
    r_ = config.residual_channels;
    s_ = config.skip_channels;
    l_ = config.latent_channels;
    decoder.r = round_up(r_, unit);
    decoder.s = round_up(s_, unit);
    decoder.l = round_up(l_, kColumns);
    decoder.layer_count = config.total_layers();
    layers_.resize(static_cast<std::size_t>(decoder.layer_count));
    decoder.layers = layers_.data();
    arena_.build([&] { lay_out(weights); }, kPrefetchSlack);
  }
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  std::size_t latent_channels() const noexcept { return static_cast<std::size_t>(l_); }  // without padding

  const VectorKernels& kernels;
  PackedDecoder decoder;
  std::size_t history_floats = 0, past_floats = 0;  // of one slot

 private:
  // The matrices of one sample lie in the order in which `step` reads them; the past taps and what is read once a hop
  // come after.
  void lay_out(const DecoderWeights& w) {
    const int r = decoder.r, s = decoder.s, l = decoder.l, last = decoder.layer_count - 1;
    const auto plain = [](const std::vector<float>& m, int rows, int columns) -> Matrix {
      return [&m, rows, columns](int i, int j) {
        return i < rows && j < columns ? m[static_cast<std::size_t>(i) * columns + j] : 0.0f;
      };
    };
    const auto pack_skip = [&](int i) { layers_[i].skip = pack(s, r, plain(w.layers[i].skip, s_, r_)); };

    place_input(w);
    history_floats = past_floats = 0;
    for (int i = 0; i <= last; ++i) {
      const LayerWeights& from = w.layers[static_cast<std::size_t>(i)];
      PackedLayer& to = layers_[static_cast<std::size_t>(i)];
      to.dilation = from.dilation;
      to.batch = std::min(from.dilation, kChunkSamples);
      to.history = std::exchange(history_floats, history_floats + static_cast<std::size_t>(from.dilation) * r);
      to.past_sums = std::exchange(past_floats, past_floats + static_cast<std::size_t>(to.batch) * 2 * r);
      to.now = pack(2 * r, r, tap(from.dilated, 1));
      if (i > 0) pack_skip(i - 1);
      if (i < last) {
        to.residual_bias = place_vector(r, [&](int j) { return j < r_ ? from.residual_bias[j] : 0.0f; });
        to.residual = pack(r, r, plain(from.residual, r_, r_));
      }
    }
    pack_skip(last);
    decoder.output = pack(s, s, plain(w.output, s_, s_));
    decoder.logits_bias = place_vector(kClasses, [&](int i) { return w.logits_bias[i]; });
    decoder.logits = pack(kClasses, s, plain(w.logits, kClasses, s_));

    for (int i = 0; i <= last; ++i)
      layers_[static_cast<std::size_t>(i)].past = pack(2 * r, r, tap(w.layers[static_cast<std::size_t>(i)].dilated, 0));

    for (int i = 0; i <= last; ++i) {
      const LayerWeights& from = w.layers[static_cast<std::size_t>(i)];
      PackedLayer& to = layers_[static_cast<std::size_t>(i)];
      to.latent = pack(2 * r, l, gated([&](int row, int j) { return j < l_ ? from.latent[row * l_ + j] : 0.0f; }));
      const Matrix bias = gated([&](int row, int) { return from.dilated_bias[row] + from.latent_bias[row]; });
      to.bias = place_vector(2 * r, [&](int i) { return bias(i, 0); });
    }
    decoder.output_latent = pack(s, l, plain(w.output_latent, s_, l_));
    decoder.output_bias =
        place_vector(s, [&](int i) { return i < s_ ? w.output_bias[i] + w.output_latent_bias[i] : 0.0f; });
  }

  void place_input(const DecoderWeights& w) {
    const int r = decoder.r, s = decoder.s;
    decoder.input_older = place_vector(r, [&](int i) { return i < r_ ? w.input[2 * i] : 0.0f; });
    decoder.input_newer = place_vector(r, [&](int i) { return i < r_ ? w.input[2 * i + 1] : 0.0f; });
    decoder.input_bias = place_vector(r, [&](int i) { return i < r_ ? w.input_bias[i] : 0.0f; });
    const SkipInput skip = w.skip_input();
    decoder.skip_older = place_vector(s, [&](int i) { return i < s_ ? skip.older[i] : 0.0f; });
    decoder.skip_newer = place_vector(s, [&](int i) { return i < s_ ? skip.newer[i] : 0.0f; });
    decoder.skip_bias = place_vector(s, [&](int i) { return i < s_ ? skip.bias[i] : 0.0f; });
  }

  // Rows of a gated convolution as the kernels take them: interleaved by vectors (see kernels.h).
  Matrix gated(Matrix natural) const {
    return [this, natural = std::move(natural)](int i, int j) {
      const int width = kernels.width, vector = i / width, half = vector % 2;
      const int channel = vector / 2 * width + i % width;
      return channel < r_ ? natural(half * r_ + channel, j) : 0.0f;
    };
  }

  Matrix tap(const std::vector<float>& dilated, int which) const {  // dilated [2R, R, 2]
    return gated(
        [this, &dilated, which](int row, int j) { return j < r_ ? dilated[(row * r_ + j) * 2 + which] : 0.0f; });
  }

  template <class Value>
  const float* place_vector(int count, const Value& value) {
    float* const to = arena_.place<float>(static_cast<std::size_t>(count));
    if (to)
      for (int i = 0; i < count; ++i) to[i] = value(i);
    return to;
  }

  const void* pack(int rows, int columns, const Matrix& value) {
    const bool bf16 = kernels.weight_bytes == sizeof(Bf16);
    const std::size_t count = static_cast<std::size_t>(rows) * columns;
    float* const start = arena_.place<float>(bf16 ? count / 2 : count);
    if (!start) return nullptr;
    float* to = start;
    const int width = kernels.width;
    for (int first = 0, left = rows / width; left > 0;) {
      int tile = kTileVectors;
      while (tile > left) tile /= 2;
      const int row = first * width, end = (first + tile) * width;
      if (bf16) {
        for (int j = 0; j < columns; j += 2)
          for (int i = row; i < end; ++i) *to++ = word(to_bf16(value(i, j)), to_bf16(value(i, j + 1)));
      } else {
        for (int j = 0; j < columns; ++j)
          for (int i = row; i < end; ++i) *to++ = value(i, j);
      }
      first += tile;
      left -= tile;
    }
    return start;
  }

  int r_ = 0, s_ = 0, l_ = 0;  // without padding
  std::vector<PackedLayer> layers_;
  Arena arena_;
};

namespace {

class VectorNetwork final : public Network {
 public:
  explicit VectorNetwork(std::shared_ptr<const PackedWeights> weights) : weights_(std::move(weights)) {
    const PackedDecoder& d = weights_->decoder;
    const std::size_t r = static_cast<std::size_t>(d.r), s = static_cast<std::size_t>(d.s);
    arena_.build([&] {
      slot_.z = arena_.place<float>(2 * r);
      slot_.skip = arena_.place<float>(s);
      slot_.hidden = arena_.place<float>(s);
      slot_.logits = arena_.place<float>(kClasses);
      slot_.probabilities = arena_.place<float>(kClasses);
      slot_.latent = arena_.place<float>(static_cast<std::size_t>(d.l));
      slot_.output_conditioning = arena_.place<float>(s);
      slot_.conditioning = arena_.place<float>(2 * r * static_cast<std::size_t>(d.layer_count));
      slot_.past_sums = arena_.place<float>(weights_->past_floats);
      slot_.histories = arena_.place<float>(weights_->history_floats);
    });
  }

  void reset() noexcept override {
    std::memset(slot_.histories, 0, weights_->history_floats * sizeof(float));
    slot_.position = 0;
  }

  void begin_hop(const float* latent) noexcept override {
    std::memcpy(slot_.latent, latent, weights_->latent_channels() * sizeof(float));
    weights_->kernels.begin_hop(weights_->decoder, slot_);
  }

  const float* step(float older, float newer) noexcept override {
    weights_->kernels.step(weights_->decoder, slot_, older, newer);
    return slot_.logits;
  }

  const float* logits() const noexcept override { return slot_.logits; }

  const float* layer_input(int layer) const noexcept override {
    const PackedLayer& l = weights_->decoder.layers[layer];
    const std::uint64_t place = (slot_.position - 1) % static_cast<unsigned>(l.dilation);
    return slot_.histories + l.history + place * static_cast<unsigned>(weights_->decoder.r);
  }

  int sample(float temperature, float uniform) noexcept override {
    return weights_->kernels.sample(slot_, temperature, uniform);
  }

  int most_probable() noexcept override { return weights_->kernels.most_probable(slot_); }

 private:
  std::shared_ptr<const PackedWeights> weights_;
  SlotMemory slot_;
  Arena arena_;
};

}  // namespace

std::shared_ptr<const PackedWeights> pack_weights(const DecoderWeights& weights, Isa isa) {
  return std::make_shared<const PackedWeights>(weights, isa);
}

std::unique_ptr<Network> make_vector_network(std::shared_ptr<const PackedWeights> weights) {
  return std::make_unique<VectorNetwork>(std::move(weights));
}

}  // namespace rtengine
