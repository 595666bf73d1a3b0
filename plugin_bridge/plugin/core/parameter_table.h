// The plugin's parameters and read-outs, once for all formats: identity, range, unit, how a value is written and read.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rtplugin {

// The numbers are identities in the sessions of hosts: they never change, and are never used again.
enum class ParameterId : uint32_t {
  kInstrument = 0,
  kMix = 1,
  kInputGain = 2,
  kOutputGain = 3,
  kGate = 4,
  kTemperature = 5,
  kSeed = 6,
  kFallback = 7,
  kMargin = 8,
  kPanic = 9,
  kBypass = 10,
  kBounce = 11,
  kLatency = 12,  // the read-outs: latency, misses, connection, load
  kMisses = 13,
  kConnection = 14,
  kLoad = 15,
};
constexpr size_t kParameterCount = 16;
constexpr uint32_t kInstrumentSlots = 128;

enum class Form : uint8_t { kNumber, kWhole, kChoice, kSwitch, kTrigger };

// What the read-out Connection shows.
enum class Connection : uint32_t {
  kInactive,
  kNoServer,
  kConnecting,
  kConnected,
  kUnplayable,     // the session's instrument is not served
  kRestartNeeded,  // it needs a longer latency than the host was told
  kRefused,
  kBounceFailed,
};

struct Parameter {
  ParameterId id;
  const char* symbol;  // of state and LV2: [a-z_]
  const char* name;
  const char* unit;  // "" has none
  Form form;
  double low, high, initial;
  bool read_out;
  std::array<const char*, 8> choices;  // of kChoice

  bool stepped() const noexcept { return form != Form::kNumber; }
  bool automatable() const noexcept { return !read_out && id != ParameterId::kMargin && id != ParameterId::kBounce; }
  uint32_t steps() const noexcept { return stepped() ? static_cast<uint32_t>(high - low) : 0; }
};

const std::array<Parameter, kParameterCount>& parameters() noexcept;  // in the order of their numbers
inline const Parameter& parameter(ParameterId id) noexcept { return parameters()[static_cast<size_t>(id)]; }
const Parameter* find_parameter(std::string_view symbol) noexcept;

// Into the range, whole where it must be; NaN becomes the initial value. [wait-free]
double conform(const Parameter& parameter, double value) noexcept;
double to_normalized(const Parameter& parameter, double value) noexcept;    // 0..1
double from_normalized(const Parameter& parameter, double value) noexcept;  // 0..1

// As shown to people, with its unit. The instrument's name is the caller's to add.
std::string to_text(const Parameter& parameter, double value);
// The other way; with or without the unit. Nothing for what is neither a number nor a choice.
std::optional<double> from_text(const Parameter& parameter, std::string_view text);

// Numbers as text, whatever the host's locale.
std::string write_number(double value, int digits = 9);
std::optional<double> read_number(std::string_view text);

double margin_ms(double choice) noexcept;  // of Margin's choices

}  // namespace rtplugin
