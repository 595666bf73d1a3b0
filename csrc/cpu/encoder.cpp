#include "cpu/encoder.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cpu/float_mode.h"
#include "cpu/hop_encoder.h"

namespace rtengine {
namespace {

float bounded(float x) noexcept {
  return x != x ? 0.0f : x > kInputLimit ? kInputLimit : x < -kInputLimit ? -kInputLimit : x;
}

void check_precision(const std::string& precision, bool has_ranges) {
  if (precision != "int8" && precision != "bf16" && precision != "fp32")
    throw std::invalid_argument("expected precision int8, bf16, fp32, found \"" + precision + "\"");
  if (precision == "int8" && !has_ranges)
    throw std::invalid_argument("calibration: expected the encoder's ranges for precision int8, found none");
}

class GreatestMagnitudes final : public EncoderObserver {
 public:
  explicit GreatestMagnitudes(const EncoderConfig& config) : c_(static_cast<std::size_t>(config.channels)) {
    const std::size_t count = static_cast<std::size_t>(config.total_layers()) * c_;
    ranges.input.resize(count);
    ranges.hidden.resize(config.pre_activation ? 0 : count);
  }

  void row(int layer, const float* input, const float* hidden) override {
    raise(ranges.input, layer, input);
    if (hidden) raise(ranges.hidden, layer, hidden);
  }

  EncoderRanges ranges;

 private:
  void raise(std::vector<float>& greatest, int layer, const float* x) {
    float* most = &greatest[static_cast<std::size_t>(layer) * c_];
    for (std::size_t i = 0; i < c_; ++i) most[i] = std::max(most[i], std::fabs(x[i]));
  }

  std::size_t c_;
};

}  // namespace

Encoder::Encoder(const EncoderConfig& config, const TensorViews& tensors, const std::string& isa,
                 const std::string& precision, const std::optional<EncoderRanges>& ranges)
    : config_(config), precision_(precision), isa_(choose_isa(isa)) {
  check_precision(precision, ranges.has_value() || config.front_end);
  auto weights = std::make_shared<const EncoderWeights>(EncoderWeights::from_tensors(config, tensors));
  multiply_adds_ = weights->multiply_adds_per_hop();
  if (config.front_end) {
    precision_ = "fp32";
    isa_ = float_isa(isa_);
    open_network_ = [packed = pack_hop_encoder(*weights, isa_)] { return make_hop_encoder(packed); };
  } else if (precision == "int8") {
    isa_ = integer_isa(isa_);
    auto quantized = std::make_shared<const std::vector<QuantizedEncoderLayer>>(quantize(*weights, *ranges));
    if (isa_ == Isa::kScalar)
      open_network_ = [weights, quantized] { return make_scalar_encoder(weights, quantized); };
    else
      open_network_ = [packed = pack_encoder(*weights, *quantized, isa_)] { return make_vector_encoder(packed); };
  } else {
    isa_ = float_isa(isa_);
    if (isa_ == Isa::kScalar)
      open_network_ = [weights] { return make_scalar_encoder(weights); };
    else
      open_network_ = [packed = pack_encoder(*weights, isa_)] { return make_vector_encoder(packed); };
  }
}

EncoderRanges Encoder::ranges(const float* samples, std::int64_t hops) const {
  if (precision_ != "fp32")
    throw std::invalid_argument("ranges: expected an encoder of precision fp32, found " + precision_);
  if (config_.front_end) return {};
  const ScopedFloatMode mode;
  GreatestMagnitudes greatest(config_);
  const std::unique_ptr<EncoderNetwork> network = open_network();
  std::vector<float> hop(static_cast<std::size_t>(config_.hop_samples));
  const std::int64_t t = config_.hop_samples;
  for (std::int64_t i = 0; i < hops + config_.lag_hops(); ++i) {
    for (std::int64_t n = 0; n < t; ++n)
      hop[static_cast<std::size_t>(n)] = i < hops ? bounded(samples[i * t + n]) : 0.0f;
    network->step(hop.data(), i * t, hops * t, &greatest);
  }
  return greatest.ranges;
}

EncoderStream::EncoderStream(std::shared_ptr<const Encoder> encoder)
    : encoder_(std::move(encoder)),
      network_(encoder_->open_network()),
      hop_(std::make_unique<float[]>(static_cast<std::size_t>(encoder_->config().hop_samples))) {}

void EncoderStream::reset() noexcept {
  network_->reset();
  hops_ = 0;
  end_ = kNoEnd;
}

const float* EncoderStream::run() noexcept {
  const ScopedFloatMode mode;
  const float* latent = network_->step(hop_.get(), hops_ * encoder_->config().hop_samples, end_, nullptr);
  return ++hops_ > encoder_->config().lag_hops() ? latent : nullptr;
}

const float* EncoderStream::step(const float* hop) noexcept {
  std::transform(hop, hop + encoder_->config().hop_samples, hop_.get(), bounded);
  return run();
}

const float* EncoderStream::finish() noexcept {
  const std::int64_t hop = encoder_->config().hop_samples;
  if (end_ == kNoEnd) {
    end_ = hops_ * hop;
    std::fill_n(hop_.get(), hop, 0.0f);
  }
  while (hops_ * hop < end_ + encoder_->config().lag_hops() * hop)
    if (const float* latent = run()) return latent;
  return nullptr;
}

}  // namespace rtengine
