// The WaveNet decoder of one domain on the CPU: `Decoder` is its immutable weights, `Slot` one stream through it.
// Slots share nothing that is written, so each may live on its own thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cpu/code_history.h"
#include "cpu/decoder_config.h"
#include "cpu/decoder_weights.h"
#include "cpu/isa.h"
#include "cpu/network.h"
#include "cpu/quantized.h"

namespace rtengine {

inline constexpr float kLatentLimit = 1e6f;          // latents are clamped to it; NaN is taken as 0
inline constexpr float kMinimumTemperature = 1e-4f;  // anything lower is 0: the most probable class
inline constexpr int kMostTogether = 8;              // slots in one call of generate_together
inline constexpr const char* kPrecisions[] = {"int4", "int8", "bf16", "fp32"};

class Decoder {
 public:
  // [control thread] Throws std::invalid_argument on bad weights, an instruction set that isn't there (see isa.h) or an
  // unknown precision (see kPrecisions). ranges [layers, R]: what input_ranges() gives; int8 and int4 need it. codes:
  // of the same decoder; int4 needs them.
  Decoder(const DecoderConfig& config, const TensorViews& tensors, const std::string& isa = "auto",
          const std::string& precision = "fp32", const std::vector<float>& ranges = {}, const Codes* codes = nullptr);

  const DecoderConfig& config() const noexcept { return config_; }
  Isa isa() const noexcept { return isa_; }
  const std::string& precision() const noexcept { return precision_; }
  std::int64_t weight_bytes_per_sample() const noexcept { return bytes_per_sample_; }

  // [control thread] A network in its initial state.
  std::unique_ptr<Network> open_network() const { return open_network_(); }

  // [any thread, allocates] Logits [samples, 256] of each sample's code given those before it, from a fresh state.
  // latents [hops, L] with hops * hop_samples >= samples; codes [samples].
  void logits(const float* latents, const std::uint8_t* codes, std::int64_t samples, float* out) const;

  // [any thread, allocates] The codes [samples] with those that are its `own` replaced, one after the other, by what it
  // draws with numbers [samples] in [0, 1), led by all before them: it plays alone for stretches of a signal.
  void say(const float* latents, std::uint8_t* codes, const bool* own, const float* numbers, std::int64_t samples,
           float temperature) const;

  // [any thread, allocates] Greatest magnitude [layers, R] that each channel of each layer's input takes in the same
  // run: what the int8 kernels are calibrated with. Throws std::invalid_argument unless the precision is fp32.
  void input_ranges(const float* latents, const std::uint8_t* codes, std::int64_t samples, float* out) const;

 private:
  template <class Each>
  void run(const float* latents, std::int64_t samples, const Each& each) const;

  DecoderConfig config_;
  std::string precision_;
  Isa isa_;
  std::int64_t bytes_per_sample_;
  std::function<std::unique_ptr<Network>()> open_network_;
};

class Slot {
 public:
  // [control thread] Allocates all that the slot will ever need.
  Slot(std::shared_ptr<const Decoder> decoder, std::uint64_t seed);

  // [audio thread, wait-free] Back to sample 0 with a new seed; the temperature stays. Equal to a fresh slot.
  void reset(std::uint64_t seed) noexcept;

  // [any thread, wait-free] Divides the logits; 0 takes the most probable class, and so do negative numbers and NaN.
  void set_temperature(float temperature) noexcept { temperature_.store(temperature, std::memory_order_relaxed); }
  float temperature() const noexcept { return temperature_.load(std::memory_order_relaxed); }

  // [audio thread, wait-free] latent [L] conditions the samples until the next call.
  void begin_hop(const float* latent) noexcept;

  // [audio thread, wait-free] The next n codes, all within the hop begun. The bits are the same for any split of a hop
  // into calls, and whatever other slots do.
  void generate(std::uint8_t* codes, int n) noexcept;

  std::uint64_t position() const noexcept { return position_; }  // samples generated since the start or the last reset
  const Decoder& decoder() const noexcept { return *decoder_; }

 private:
  friend void generate_together(Slot* const* slots, std::uint8_t* const* codes, int count, int n) noexcept;
  std::uint8_t draw() noexcept;  // from the network's last logits; moves on by a sample

  std::shared_ptr<const Decoder> decoder_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<float[]> latent_;  // [L], clamped
  std::uint64_t seed_;
  std::uint64_t position_ = 0;
  CodeHistory history_;
  std::atomic<float> temperature_{1.0f};
};

// [audio thread, wait-free] slots[i]->generate(codes[i], n) for all of `count` slots of one decoder, at most
// kMostTogether, the weights read once for all. The bits of each are those of generate() alone.
void generate_together(Slot* const* slots, std::uint8_t* const* codes, int count, int n) noexcept;

}  // namespace rtengine
