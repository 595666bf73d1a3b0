// The decoder in plain loops, to be read beside docs/wavenet.md. Every fast kernel is held to it.
#pragma once

#include <memory>

#include "cpu/decoder_weights.h"
#include "cpu/network.h"

namespace rtengine {

std::unique_ptr<Network> make_scalar_network(std::shared_ptr<const DecoderWeights> weights);

}  // namespace rtengine
