#include "parameters.h"

#include <algorithm>
#include <cmath>

#include "rtbridge/atomics.h"

namespace rtbridge {

float clamped(Param param, float value) noexcept {
  const Range& range = kRanges[index(param)];
  if (std::isnan(value)) return static_cast<float>(range.initial);
  return std::clamp(value, static_cast<float>(range.low), static_cast<float>(range.high));
}

void write_field(rt_header& h, Param param, double value) noexcept {
  const auto u32 = static_cast<uint32_t>(value < 4294967295.0 ? value : 4294967295.0);
  const auto f32 = static_cast<float>(value);
  switch (param) {
    case Param::kMix:
      return store_relaxed(h.mix, f32);
    case Param::kOutputGainDb:
      return store_relaxed(h.output_gain_db, f32);
    case Param::kInputGainDb:
      return store_relaxed(h.input_gain_db, f32);
    case Param::kGateDb:
      return store_relaxed(h.gate_db, f32);
    case Param::kTemperature:
      return store_relaxed(h.temperature, f32);
    case Param::kBypass:
      return store_relaxed(h.bypass, u32);
    case Param::kFallback:
      return store_relaxed(h.fallback, u32);
    case Param::kDecoder:
      return store_relaxed(h.decoder, u32);
    case Param::kPanic:
      return store_relaxed(h.panic, u32);
    case Param::kSeed:
    case Param::kCount:
      return;
  }
}

double read_field(const rt_header& h, Param param) noexcept {
  switch (param) {
    case Param::kMix:
      return load_relaxed(h.mix);
    case Param::kOutputGainDb:
      return load_relaxed(h.output_gain_db);
    case Param::kInputGainDb:
      return load_relaxed(h.input_gain_db);
    case Param::kGateDb:
      return load_relaxed(h.gate_db);
    case Param::kTemperature:
      return load_relaxed(h.temperature);
    case Param::kBypass:
      return load_relaxed(h.bypass);
    case Param::kFallback:
      return load_relaxed(h.fallback);
    case Param::kDecoder:
      return load_relaxed(h.decoder);
    case Param::kSeed:
      return static_cast<double>(load_relaxed(h.seed));
    case Param::kPanic:
      return load_relaxed(h.panic);
    case Param::kCount:
      break;
  }
  return 0.0;
}

}  // namespace rtbridge
