// The latency contract in host frames, computed by the client before any server answers: the twin of
// rtserver/latency.py (docs/latency.md derives it), held to it by tests/plugin.
#pragma once
#include <cstdint>

#include "rtbridge/layout.h"

namespace rtbridge {

constexpr uint32_t kNetworkRateHz = 16000;
constexpr uint32_t kProbeHopSamples = 160;

// What decides an instrument's latency: the encoder's hop and lookahead, in samples at 16 kHz. `loopback` has neither,
// and no resampling.
struct ModelDelay {
  uint32_t hop_samples = 160;  // of the preset `live`, until something else is known
  uint32_t lookahead_samples = 0;
  bool loopback = false;
};

// Rate 8000 to 384000 Hz, block 1 to 16384 frames, margin 2 to 500 ms, jitter 0 to 2000 ms: callers clamp.
rt_latency compute_latency(uint32_t rate_hz, uint32_t max_block_frames, const ModelDelay& model, double margin_ms,
                           double jitter_ms) noexcept;

}  // namespace rtbridge
