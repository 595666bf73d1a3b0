// An encoder whose convolutions run once a hop, behind a filter bank: a hundredth of the arithmetic of one that runs
// once a sample, in float32 always.
#pragma once

#include <memory>

#include "cpu/encoder_network.h"

namespace rtengine {

// Weights in the order in which the kernels of one instruction set read them; shared by all streams.
class PackedHopEncoder;

// isa: one with float kernels (see float_isa). weights: of a config with a front end.
std::shared_ptr<const PackedHopEncoder> pack_hop_encoder(const EncoderWeights& weights, Isa isa);
std::unique_ptr<EncoderNetwork> make_hop_encoder(std::shared_ptr<const PackedHopEncoder> weights);

}  // namespace rtengine
