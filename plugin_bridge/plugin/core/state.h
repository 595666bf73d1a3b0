// A saved session of the plugin as versioned text: a line a parameter, a line an instrument, and a check of the whole,
// so that what was cut short or damaged is told from what was saved.
//
//   rtserver-plugin 1
//   set mix 75
//   instrument 3 <sha256 or -> <hop> <lookahead> <loopback> <model> <decoder>
//   end 5f3a90c1
//
// Names are percent-encoded. Lines of a kind that is not known are passed over, for later versions with the same
// number.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "core/instruments.h"
#include "core/parameter_table.h"

namespace rtplugin {

constexpr size_t kStateBytesMax = 256 * 1024;

struct State {
  std::array<double, kParameterCount> values{};  // read-outs are not saved
  Instruments instruments;

  State();  // the initial values
};

std::string write_state(const State& state);
// Nothing and why_not for anything but what write_state wrote. Values out of range are clamped.
std::optional<State> read_state(std::string_view text, std::string& why_not);

}  // namespace rtplugin
