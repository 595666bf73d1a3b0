// The decoder on integer kernels (int8 and int4): packs the quantised weights once for all slots, owns each slot's
// memory.
#pragma once

#include <memory>

#include "cpu/isa.h"
#include "cpu/network.h"
#include "cpu/quantized.h"

namespace rtengine {

// Weights in the order and layout in which the kernels of one instruction set read them.
class PackedIntegers;

std::shared_ptr<const PackedIntegers> pack_integers(const QuantizedDecoder& weights, Isa isa);
std::unique_ptr<Network> make_integer_network(std::shared_ptr<const PackedIntegers> weights);

// The same arithmetic in plain loops, bit for bit.
std::unique_ptr<Network> make_scalar_integer_network(std::shared_ptr<const QuantizedDecoder> weights);

}  // namespace rtengine
