#include "cpu/hop_encoder.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cpu/arena.h"
#include "cpu/constant_q.h"
#include "cpu/hop_kernels.h"

namespace rtengine {
namespace {

const HopKernels& kernels_of(Isa isa) {
  if (isa == Isa::kScalar) return kScalarHopKernels;
#if defined(__x86_64__) || defined(_M_X64)
  if (isa == Isa::kAvx2) return kAvx2HopKernels;
  if (isa == Isa::kAvx512) return kAvx512HopKernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
  if (isa == Isa::kNeon) return kNeonHopKernels;
#endif
  throw std::logic_error(std::string("no hop kernels for ") + isa_name(isa));
}

std::size_t size(int n) { return static_cast<std::size_t>(n); }

}  // namespace

class PackedHopEncoder {
 public:
  struct Layer {
    int dilation = 1;
    HopProduct convolution, mix;  // no mix with pre_activation
  };

  PackedHopEncoder(const EncoderWeights& weights, Isa isa)
      : kernels(kernels_of(isa)), config(weights.config), layers(weights.layers.size()) {
    const std::vector<Filter> filters = constant_q_filters(*config.front_end);
    bins = config.inputs();
    c = config.channels;
    widest = round_up(std::max({c, bins, config.latent_channels}), kernels.width);
    tiles.resize(size(round_up(bins, kernels.width) / kernels.width));
    arena_.build([&] { lay_out(weights, filters); });
  }
  PackedHopEncoder(const PackedHopEncoder&) = delete;
  PackedHopEncoder& operator=(const PackedHopEncoder&) = delete;

  const HopKernels& kernels;
  const EncoderConfig config;
  int bins = 0, c = 0;
  int widest = 0;  // of all rows that a kernel writes
  std::vector<FilterTile> tiles;
  HopProduct input, latent;
  std::vector<Layer> layers;

 private:
  void lay_out(const EncoderWeights& w, const std::vector<Filter>& filters) {
    for (std::size_t i = 0; i < tiles.size(); ++i) pack(tiles[i], filters, static_cast<int>(i) * kernels.width);
    const int k = config.kernel_size;
    input = pack(w.input, w.input_bias, c, bins, k);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const EncoderLayerWeights& from = w.layers[i];
      layers[i].dilation = from.dilation;
      layers[i].convolution = pack(from.convolution, from.convolution_bias, c, c, k);
      if (!config.pre_activation) layers[i].mix = pack(from.mix, from.mix_bias, c, c, 1);
    }
    latent = pack(w.latent, w.latent_bias, config.latent_channels, c, 1);
  }

  // The longest window is the first one's; before the windows of the others there are zeros.
  void pack(FilterTile& to, const std::vector<Filter>& filters, int first) {
    const int longest = static_cast<int>(filters[size(first)].cosine.size());
    to.samples = round_up(longest, kFilterGroup);
    float* weights = arena_.place<float>(size(to.samples) * 2 * size(kernels.width));
    to.weights = weights;
    if (!weights) return;
    for (int i = 0; i < kernels.width && first + i < bins; ++i) {
      const Filter& filter = filters[size(first + i)];
      const std::size_t before = size(to.samples) - filter.cosine.size();
      for (std::size_t n = 0; n < filter.cosine.size(); ++n) {
        float* const row = weights + (before + n) * 2 * size(kernels.width) + i;
        row[0] = filter.cosine[n];
        row[kernels.width] = filter.sine[n];
      }
    }
  }

  // values [rows, columns, taps] as a convolution has them.
  HopProduct pack(const std::vector<float>& values, const std::vector<float>& bias, int rows, int columns, int taps) {
    const int width = kernels.width;
    HopProduct to;
    to.rows = round_up(rows, width);
    to.columns = columns;
    to.taps = taps;
    float* weights = arena_.place<float>(size(to.rows) * size(columns) * size(taps));
    float* biases = arena_.place<float>(size(to.rows));
    to.weights = weights;
    to.bias = biases;
    if (!weights) return to;
    std::copy(bias.begin(), bias.end(), biases);
    for (int first = 0; first < to.rows;) {
      const int high = to.rows - first >= kHopTile * width ? kHopTile * width : width;
      for (int tap = 0; tap < taps; ++tap)
        for (int j = 0; j < columns; ++j)
          for (int i = first; i < first + high; ++i)
            *weights++ = i < rows ? values[(size(i) * size(columns) + size(j)) * size(taps) + size(tap)] : 0.0f;
      first += high;
    }
    return to;
  }

  Arena arena_;
};

namespace {

// What a convolution reads: rows of the last (taps - 1) dilation + 1 hops, the newest over the oldest.
class HopRing {
 public:
  HopRing(int columns, int taps, int dilation)
      : columns_(size(columns)), taps_(taps), dilation_(dilation), rows_((taps - 1) * dilation + 1) {}

  std::size_t floats() const { return size(rows_) * columns_; }
  void lie_at(float* memory) { memory_ = memory; }

  float* newest() noexcept { return row(0); }
  void point(const float** inputs) noexcept {  // [taps], the oldest first
    for (int tap = 0; tap < taps_; ++tap) inputs[tap] = row((taps_ - 1 - tap) * dilation_);
  }
  void advance() noexcept { newest_ = newest_ + 1 == rows_ ? 0 : newest_ + 1; }
  void reset() noexcept {
    std::fill_n(memory_, floats(), 0.0f);
    newest_ = 0;
  }

 private:
  float* row(int hops_ago) noexcept {
    const int at = newest_ - hops_ago;
    return memory_ + size(at < 0 ? at + rows_ : at) * columns_;
  }

  std::size_t columns_;
  int taps_, dilation_, rows_, newest_ = 0;
  float* memory_ = nullptr;
};

class HopEncoder final : public EncoderNetwork {
 public:
  explicit HopEncoder(std::shared_ptr<const PackedHopEncoder> weights)
      : weights_(std::move(weights)),
        audio_samples_(round_up(weights_->config.front_end->window_samples, kFilterGroup)),
        inputs_(size(weights_->config.kernel_size)) {
    const int k = weights_->config.kernel_size;
    rings_.emplace_back(weights_->bins, k, 1);
    for (const PackedHopEncoder::Layer& layer : weights_->layers) rings_.emplace_back(weights_->c, k, layer.dilation);
    arena_.build([&] {
      audio_ = arena_.place<float>(size(audio_samples_));
      for (float** to : {&power_, &y_, &hidden_, &mixed_, &latent_}) *to = arena_.place<float>(size(weights_->widest));
      for (HopRing& ring : rings_) ring.lie_at(arena_.place<float>(ring.floats()));
    });
  }

  void reset() noexcept override {
    std::fill_n(audio_, audio_samples_, 0.0f);
    for (HopRing& ring : rings_) ring.reset();
  }

  // Causal, so that it doesn't matter where the signal ends; there are no ranges to observe.
  const float* step(const float* hop, std::int64_t, std::int64_t, EncoderObserver*) noexcept override {
    const PackedHopEncoder& w = *weights_;
    const int hop_samples = w.config.hop_samples, c = w.c;
    std::copy(audio_ + hop_samples, audio_ + audio_samples_, audio_);
    std::copy_n(hop, hop_samples, audio_ + audio_samples_ - hop_samples);
    w.kernels.filters(w.tiles.data(), static_cast<int>(w.tiles.size()), audio_ + audio_samples_, power_);
    std::transform(power_, power_ + w.bins, rings_[0].newest(), log_power);
    convolve(w.input, rings_[0], y_);
    for (std::size_t i = 0; i < w.layers.size(); ++i) {
      const PackedHopEncoder::Layer& layer = w.layers[i];
      HopRing& ring = rings_[i + 1];
      if (w.config.pre_activation) {
        std::transform(y_, y_ + c, ring.newest(), positive);
        convolve(layer.convolution, ring, mixed_);
      } else {
        std::copy_n(y_, c, ring.newest());
        convolve(layer.convolution, ring, hidden_);
        std::transform(hidden_, hidden_ + c, hidden_, positive);
        const float* const hidden = hidden_;
        w.kernels.product(layer.mix, &hidden, mixed_);
      }
      for (int j = 0; j < c; ++j) y_[j] += mixed_[j];
    }
    const float* const end = y_;
    w.kernels.product(w.latent, &end, latent_);
    return latent_;
  }

 private:
  static float positive(float x) noexcept { return x > 0.0f ? x : 0.0f; }

  void convolve(const HopProduct& product, HopRing& ring, float* y) noexcept {
    ring.point(inputs_.data());
    weights_->kernels.product(product, inputs_.data(), y);
    ring.advance();
  }

  std::shared_ptr<const PackedHopEncoder> weights_;
  int audio_samples_;                 // the longest window, in whole groups
  std::vector<const float*> inputs_;  // [k]
  std::vector<HopRing> rings_;        // of the first convolution, then of the layers'
  float* audio_ = nullptr;            // [audio_samples], the newest last
  float *power_ = nullptr, *y_ = nullptr, *hidden_ = nullptr, *mixed_ = nullptr, *latent_ = nullptr;  // [widest]
  Arena arena_;
};

}  // namespace

std::shared_ptr<const PackedHopEncoder> pack_hop_encoder(const EncoderWeights& weights, Isa isa) {
  return std::make_shared<const PackedHopEncoder>(weights, isa);
}

std::unique_ptr<EncoderNetwork> make_hop_encoder(std::shared_ptr<const PackedHopEncoder> weights) {
  return std::make_unique<HopEncoder>(std::move(weights));
}

}  // namespace rtengine
