// One stream's encoder: its arithmetic with its histories, hop by hop. The scalar reference and the vector kernels are
// two implementations of it; when a stream begins and ends, and which latents count, is decided in EncoderStream.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "cpu/encoder_quantized.h"
#include "cpu/isa.h"

namespace rtengine {

inline constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

// Sees what the layers read: for calibration, in float32 networks only.
class EncoderObserver {
 public:
  virtual ~EncoderObserver() = default;

  // A row of what a layer's convolution reads, [C], and one of what its mixing convolution reads; null where there is
  // none or it lies outside of the signal.
  virtual void row(int layer, const float* input, const float* hidden) = 0;
};

class EncoderNetwork {
 public:
  virtual ~EncoderNetwork() = default;

  // [control thread or audio thread, wait-free] Back to the state before the first hop: every history silent.
  virtual void reset() noexcept = 0;

  // [audio thread, wait-free] Takes a hop [hop_samples] of finite network input, the stream's samples from `position`
  // on; the signal has `end` samples, what lies beyond is padding in every layer. Gives the latent [L] of the hop
  // EncoderConfig::lag_hops() earlier, valid until the next step.
  virtual const float* step(const float* hop, std::int64_t position, std::int64_t end,
                            EncoderObserver* observer) noexcept = 0;
};

std::unique_ptr<EncoderNetwork> make_scalar_encoder(std::shared_ptr<const EncoderWeights> weights);
std::unique_ptr<EncoderNetwork> make_scalar_encoder(
    std::shared_ptr<const EncoderWeights> weights, std::shared_ptr<const std::vector<QuantizedEncoderLayer>> quantized);

// Weights in the order and layout in which the kernels of one instruction set read them.
class PackedEncoderWeights;

std::shared_ptr<const PackedEncoderWeights> pack_encoder(const EncoderWeights& weights, Isa isa);
std::shared_ptr<const PackedEncoderWeights> pack_encoder(const EncoderWeights& weights,
                                                         const std::vector<QuantizedEncoderLayer>& quantized, Isa isa);
std::unique_ptr<EncoderNetwork> make_vector_encoder(std::shared_ptr<const PackedEncoderWeights> weights);

}  // namespace rtengine
