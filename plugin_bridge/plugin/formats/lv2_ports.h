// The LV2 ports by number: what the plugin connects and what the generator writes into the .ttl.
#pragma once
#include <cstdint>
#include <string>

#include "core/parameter_table.h"

namespace rtplugin {

// in[channels], out[channels], side chain, then a control port a parameter, then latency in frames and freewheel.
struct Lv2Ports {
  uint32_t channels;
  uint32_t audio_in(uint32_t c) const { return c; }
  uint32_t audio_out(uint32_t c) const { return channels + c; }
  uint32_t side_chain() const { return 2 * channels; }
  uint32_t control(uint32_t parameter_index) const { return 2 * channels + 1 + parameter_index; }
  uint32_t latency() const { return control(kParameterCount); }
  uint32_t freewheel() const { return latency() + 1; }
  uint32_t count() const { return freewheel() + 1; }
};

}  // namespace rtplugin
