#include "rtbridge/latency.h"

#include <algorithm>

namespace rtbridge {
namespace {

constexpr double kFadeMs = 1.0;

uint64_t ceil_div(uint64_t a, uint64_t b) noexcept { return (a + b - 1) / b; }

uint32_t to_host_frames(uint64_t samples, uint32_t rate_hz) noexcept {
  return static_cast<uint32_t>(ceil_div(samples * rate_hz, kNetworkRateHz));
}

uint32_t ms_to_frames(double ms, uint32_t rate_hz) noexcept {
  return static_cast<uint32_t>(ms * rate_hz / 1000.0 + 0.5);
}

// Half of the filters in and out, 85/2 periods of the slower rate each.
uint32_t resampling_frames(uint32_t rate_hz) noexcept {
  if (rate_hz == kNetworkRateHz) return 0;
  const uint64_t slower = std::min(rate_hz, kNetworkRateHz);
  const uint64_t intake = ceil_div(85ull * rate_hz, 2 * slower);
  const uint64_t output = ceil_div(85ull * kNetworkRateHz, 2 * slower);
  return static_cast<uint32_t>(intake) + to_host_frames(output, rate_hz);
}

}  // namespace

rt_latency compute_latency(uint32_t rate_hz, uint32_t max_block_frames, const ModelDelay& model, double margin_ms,
                           double jitter_ms) noexcept {
  rt_latency l{};
  l.block = max_block_frames;
  if (!model.loopback) {
    const uint64_t hop = std::max(model.hop_samples, 1u);
    l.resampling = resampling_frames(rate_hz);
    l.lookahead = to_host_frames(ceil_div(model.lookahead_samples, hop) * hop, rate_hz);
    l.hop = to_host_frames(hop, rate_hz);
  }
  l.margin = ms_to_frames(margin_ms, rate_hz);
  l.jitter = ms_to_frames(jitter_ms, rate_hz);
  l.reported = l.block + l.resampling + l.lookahead + l.hop + l.margin + l.jitter;
  l.fade = ms_to_frames(kFadeMs, rate_hz);
  return l;
}

}  // namespace rtbridge
