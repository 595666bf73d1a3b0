// The encoder on the CPU: `Encoder` is its immutable weights, `EncoderStream` one stream through it. Always hop by hop:
// the bits of a latent are those of the samples before it, however they came. Streams share nothing that is written, so
// each may live on its own thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cpu/encoder_network.h"

namespace rtengine {

inline constexpr float kInputLimit = 1e6f;  // what comes in is clamped to it; NaN is taken as 0

class Encoder {
 public:
  // [control thread] Throws std::invalid_argument on bad weights, an instruction set that isn't there (see isa.h), an
  // unknown precision or bad ranges. precision: fp32, int8, which needs ranges, or bf16, which is fp32 here: rounding
  // the weights to it would save memory, and no time where the arithmetic is float32. Behind a front end it is fp32
  // whatever is asked for, and there are no ranges.
  Encoder(const EncoderConfig& config, const TensorViews& tensors, const std::string& isa = "auto",
          const std::string& precision = "fp32", const std::optional<EncoderRanges>& ranges = std::nullopt);

  const EncoderConfig& config() const noexcept { return config_; }
  Isa isa() const noexcept { return isa_; }
  const std::string& precision() const noexcept { return precision_; }
  std::int64_t multiply_adds_per_hop() const noexcept { return multiply_adds_; }

  // [control thread] A network in its initial state.
  std::unique_ptr<EncoderNetwork> open_network() const { return open_network_(); }

  // [any thread, allocates] The greatest magnitudes that a signal of `hops` hops brings, to its very end: what int8 is
  // calibrated with; empty behind a front end. Throws std::invalid_argument unless the precision is fp32.
  EncoderRanges ranges(const float* samples, std::int64_t hops) const;

 private:
  EncoderConfig config_;
  std::string precision_;
  Isa isa_;
  std::int64_t multiply_adds_;
  std::function<std::unique_ptr<EncoderNetwork>()> open_network_;
};

class EncoderStream {
 public:
  // [control thread] Allocates all that the stream will ever need.
  explicit EncoderStream(std::shared_ptr<const Encoder> encoder);

  // [audio thread, wait-free] Back to the state before the first hop. Equal to a fresh stream.
  void reset() noexcept;

  // [audio thread, wait-free] Takes the next hop [hop_samples]; gives the latent [L] of the hop lag_hops() earlier,
  // null while there is no such hop. Valid until the next call. Not after finish().
  const float* step(const float* hop) noexcept;

  // [audio thread, wait-free] Ends the stream after the hops taken; gives, call by call, the latents that were waiting
  // for what comes after, then null.
  const float* finish() noexcept;

  bool finished() const noexcept { return end_ != kNoEnd; }
  const Encoder& encoder() const noexcept { return *encoder_; }

 private:
  const float* run() noexcept;

  std::shared_ptr<const Encoder> encoder_;
  std::unique_ptr<EncoderNetwork> network_;
  std::unique_ptr<float[]> hop_;  // [hop_samples], clamped
  std::int64_t hops_ = 0;         // taken, those of silence after the end included
  std::int64_t end_ = kNoEnd;     // samples of the signal, once it has ended
};

}  // namespace rtengine
