#include "cpu/decoder.h"

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "cpu/float_mode.h"
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

}  // namespace

Decoder::Decoder(const DecoderConfig& config, const TensorViews& tensors, const std::string& isa,
                 const std::string& precision)
    : config_(config), isa_(choose_isa(isa)) {
  if (precision != "float32")
    throw std::invalid_argument("expected precision \"float32\", found \"" + precision + "\"");
  auto weights = std::make_shared<const DecoderWeights>(DecoderWeights::from_tensors(config, tensors));
  bytes_per_sample_ = weights->bytes_per_sample();
  if (isa_ == Isa::kScalar) {
    open_network_ = [weights] { return make_scalar_network(weights); };
  } else {
    open_network_ = [packed = pack_weights(*weights, isa_)] { return make_vector_network(packed); };
  }
}

void Decoder::logits(const float* latents, const std::uint8_t* codes, std::int64_t samples, float* out) const {
  const ScopedFloatMode mode;
  const std::unique_ptr<Network> network = open_network();
  const auto latent = std::make_unique<float[]>(static_cast<std::size_t>(config_.latent_channels));
  float older = 0.0f, newer = 0.0f;
  for (std::int64_t t = 0; t < samples; ++t) {
    if (t % config_.hop_samples == 0) {
      clamp_latent(latents + t / config_.hop_samples * config_.latent_channels, latent.get(), config_.latent_channels);
      network->begin_hop(latent.get());
    }
    std::memcpy(out + t * kClasses, network->step(older, newer), kClasses * sizeof(float));
    older = newer;
    newer = network_input(codes[t]);
  }
}

Slot::Slot(std::shared_ptr<const Decoder> decoder, std::uint64_t seed)
    : decoder_(std::move(decoder)),
      network_(decoder_->open_network()),
      latent_(std::make_unique<float[]>(static_cast<std::size_t>(decoder_->config().latent_channels))),
      seed_(seed) {
  begin_hop(latent_.get());  // a caller that forgets to begin a hop hears the zero latent
}

void Slot::reset(std::uint64_t seed) noexcept {
  network_->reset();
  seed_ = seed;
  position_ = 0;
  older_ = newer_ = 0.0f;
}

void Slot::begin_hop(const float* latent) noexcept {
  const ScopedFloatMode mode;
  clamp_latent(latent, latent_.get(), decoder_->config().latent_channels);
  network_->begin_hop(latent_.get());
}

void Slot::generate(std::uint8_t* codes, int n) noexcept {
  const ScopedFloatMode mode;
  const float temperature = this->temperature();
  for (int i = 0; i < n; ++i) {
    network_->step(older_, newer_);
    const int code = temperature >= kMinimumTemperature ? network_->sample(temperature, uniform(seed_, position_))
                                                        : network_->most_probable();
    codes[i] = static_cast<std::uint8_t>(code);
    older_ = newer_;
    newer_ = network_input(codes[i]);
    ++position_;
  }
}

}  // namespace rtengine
