// The floor under the engine's speed: how long this core takes to read the weights once and do nothing else.
#pragma once

#include <cstdint>

namespace rtengine {

// Median seconds of one read loop over `bytes` of memory laid out like weights, `repeats` timed passes after a warm-up.
// Throws std::invalid_argument unless both are positive.
double read_loop_seconds(std::int64_t bytes, int repeats);

}  // namespace rtengine
