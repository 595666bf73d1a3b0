// The decoder on vector kernels: packs the weights once for all slots, owns each slot's memory.
#pragma once

#include <memory>

#include "cpu/decoder_weights.h"
#include "cpu/isa.h"
#include "cpu/network.h"

namespace rtengine {

// Weights in the order and layout in which the kernels of one instruction set read them.
class PackedWeights;

std::shared_ptr<const PackedWeights> pack_weights(const DecoderWeights& weights, Isa isa);
std::unique_ptr<Network> make_vector_network(std::shared_ptr<const PackedWeights> weights);

}  // namespace rtengine
