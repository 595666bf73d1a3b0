#include "cpu/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "cpu/float_mode.h"
#include "cpu/network_integer.h"
#include "cpu/network_scalar.h"
#include "cpu/network_vector.h"
#include "cpu/philox.h"

namespace rtengine {
namespace {

void clamp_latent(const float* in, float* out, int channels) noexcept {
  for (int i = 0; i < channels; ++i) {
    const float value = in[i];
    out[i] = value != value          ? 0.0f
             : value > kLatentLimit  ? kLatentLimit
             : value < -kLatentLimit ? -kLatentLimit
                                     : value;
  }
}

void check_precision(const std::string& precision) {
  std::string expected;
  for (const char* known : kPrecisions) {
    if (precision == known) return;
    expected += (expected.empty() ? "" : ", ") + std::string(known);
  }
  throw std::invalid_argument("expected precision " + expected + ", found \"" + precision + "\"");
}

}  // namespace

Decoder::Decoder(const DecoderConfig& config, const TensorViews& tensors, const std::string& isa,
                 const std::string& precision, const std::vector<float>& ranges, const Codes* codes)
    : config_(config), precision_(precision), isa_(choose_isa(isa)) {
  check_precision(precision);
  const bool four_bits = precision == "int4", integer = four_bits || precision == "int8";
  isa_ = integer ? integer_isa(isa_) : float_isa(isa_);
  if (four_bits && !codes) throw std::invalid_argument("precision int4: expected the codes of its weights, found none");
  auto checked = std::make_shared<DecoderWeights>(DecoderWeights::from_tensors(config, tensors));
  if (integer) {
    auto quantized = std::make_shared<const QuantizedDecoder>(std::move(*checked), ranges, four_bits ? codes : nullptr);
    bytes_per_sample_ = quantized->bytes_per_sample();
    if (isa_ == Isa::kScalar)
      open_network_ = [quantized] { return make_scalar_integer_network(quantized); };
    else
      open_network_ = [packed = pack_integers(*quantized, isa_)] { return make_integer_network(packed); };
    return;
  }
  if (precision == "bf16") checked->round_to_bf16();
  const std::shared_ptr<const DecoderWeights> weights = std::move(checked);
  bytes_per_sample_ = weights->bytes_per_sample();
  if (isa_ == Isa::kScalar) {
    open_network_ = [weights] { return make_scalar_network(weights); };
  } else {
    open_network_ = [packed = pack_weights(*weights, isa_)] { return make_vector_network(packed); };
  }
}

// each(t, network, history) gives the code of sample t after every step.
template <class Each>
void Decoder::run(const float* latents, std::int64_t samples, const Each& each) const {
  const ScopedFloatMode mode;
  const std::unique_ptr<Network> network = open_network();
  const auto latent = std::make_unique<float[]>(static_cast<std::size_t>(config_.latent_channels));
  CodeHistory history(config_.prediction_order);
  for (std::int64_t t = 0; t < samples; ++t) {
    if (t % config_.hop_samples == 0) {
      clamp_latent(latents + t / config_.hop_samples * config_.latent_channels, latent.get(), config_.latent_channels);
      network->begin_hop(latent.get());
    }
    history.look_ahead();
    network->step(history.older(), history.newer());
    history.push(each(t, *network, history));
  }
}

void Decoder::logits(const float* latents, const std::uint8_t* codes, std::int64_t samples, float* out) const {
  run(latents, samples, [&](std::int64_t t, const Network& network, const CodeHistory& history) {
    for (int i = 0; i < kClasses; ++i) out[t * kClasses + history.code(i)] = network.logits()[i];
    return codes[t];
  });
}

void Decoder::say(const float* latents, std::uint8_t* codes, const bool* own, const float* numbers,
                  std::int64_t samples, float temperature) const {
  run(latents, samples, [&](std::int64_t t, Network& network, const CodeHistory& history) {
    if (own[t]) codes[t] = history.code(network.sample(temperature, numbers[t]));
    return codes[t];
  });
}

void Decoder::input_ranges(const float* latents, const std::uint8_t* codes, std::int64_t samples, float* out) const {
  if (precision_ != "fp32")
    throw std::invalid_argument("input ranges: expected a decoder of precision fp32, found " + precision_);
  const int layers = config_.total_layers(), channels = config_.residual_channels;
  std::fill(out, out + static_cast<std::ptrdiff_t>(layers) * channels, 0.0f);
  run(latents, samples, [&](std::int64_t t, const Network& network, const CodeHistory&) {
    for (int i = 0; i < layers; ++i) {
      const float* input = network.layer_input(i);
      float* most = out + static_cast<std::ptrdiff_t>(i) * channels;
      for (int j = 0; j < channels; ++j) most[j] = std::max(most[j], std::fabs(input[j]));
    }
    return codes[t];
  });
}

Slot::Slot(std::shared_ptr<const Decoder> decoder, std::uint64_t seed)
    : decoder_(std::move(decoder)),
      network_(decoder_->open_network()),
      latent_(std::make_unique<float[]>(static_cast<std::size_t>(decoder_->config().latent_channels))),
      seed_(seed),
      history_(decoder_->config().prediction_order) {
  begin_hop(latent_.get());  // a caller that forgets to begin a hop hears the zero latent
}

void Slot::reset(std::uint64_t seed) noexcept {
  network_->reset();
  seed_ = seed;
  position_ = 0;
  history_.reset();
}

void Slot::begin_hop(const float* latent) noexcept {
  const ScopedFloatMode mode;
  clamp_latent(latent, latent_.get(), decoder_->config().latent_channels);
  network_->begin_hop(latent_.get());
}

std::uint8_t Slot::draw() noexcept {
  const float temperature = this->temperature();
  const std::uint8_t code =
      history_.code(temperature >= kMinimumTemperature ? network_->sample(temperature, uniform(seed_, position_))
                                                       : network_->most_probable());
  history_.push(code);
  ++position_;
  return code;
}

void Slot::generate(std::uint8_t* codes, int n) noexcept {
  const ScopedFloatMode mode;
  for (int i = 0; i < n; ++i) {
    history_.look_ahead();
    network_->step(history_.older(), history_.newer());
    codes[i] = draw();
  }
}

void generate_together(Slot* const* slots, std::uint8_t* const* codes, int count, int n) noexcept {
  const ScopedFloatMode mode;
  Network* networks[kMostTogether];
  float older[kMostTogether], newer[kMostTogether];
  for (int k = 0; k < count; ++k) networks[k] = slots[k]->network_.get();
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < count; ++k) {
      slots[k]->history_.look_ahead();
      older[k] = slots[k]->history_.older();
      newer[k] = slots[k]->history_.newer();
    }
    networks[0]->step_together(networks, count, older, newer);
    for (int k = 0; k < count; ++k) codes[k][i] = slots[k]->draw();
  }
}

}  // namespace rtengine
