#include "core/parameter_table.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <locale>
#include <sstream>

namespace rtplugin {
namespace {

using Id = ParameterId;
constexpr std::array<const char*, 8> kNone{};
constexpr std::array<double, 3> kMarginsMs{5.0, 15.0, 60.0};  // as rtserver/latency.py has them

constexpr std::array<Parameter, kParameterCount> kParameters{{
    {Id::kInstrument, "instrument", "Instrument", "", Form::kWhole, 0, kInstrumentSlots - 1, 0, false, kNone},
    {Id::kMix, "mix", "Mix", "%", Form::kNumber, 0, 100, 100, false, kNone},
    {Id::kInputGain, "input_gain_db", "Input gain", "dB", Form::kNumber, -60, 24, 0, false, kNone},
    {Id::kOutputGain, "output_gain_db", "Output gain", "dB", Form::kNumber, -60, 24, 0, false, kNone},
    {Id::kGate, "gate_db", "Gate", "dB", Form::kNumber, -90, 0, -90, false, kNone},
    {Id::kTemperature, "temperature", "Temperature", "", Form::kNumber, 0, 2, 1, false, kNone},
    {Id::kSeed, "seed", "Seed", "", Form::kWhole, 0, 65535, 0, false, kNone},
    {Id::kFallback, "fallback", "Fallback", "", Form::kChoice, 0, 1, 0, false, {"Dry", "Silence"}},
    {Id::kMargin, "margin", "Margin", "", Form::kChoice, 0, 2, 0, false, {"Live", "Balanced", "Studio"}},
    {Id::kPanic, "panic", "Panic", "", Form::kTrigger, 0, 1, 0, false, kNone},
    {Id::kBypass, "bypass", "Bypass", "", Form::kSwitch, 0, 1, 0, false, kNone},
    {Id::kBounce, "bounce", "Bounce", "", Form::kChoice, 0, 1, 0, false, {"As the host says", "Wait for every block"}},
    {Id::kLatency, "latency_ms", "Latency", "ms", Form::kNumber, 0, 10000, 0, true, kNone},
    {Id::kMisses, "misses", "Misses", "", Form::kWhole, 0, 16777216, 0, true, kNone},
    {Id::kConnection,
     "connection",
     "Connection",
     "",
     Form::kChoice,
     0,
     7,
     0,
     true,
     {"Inactive", "No server", "Connecting", "Connected", "Instrument missing", "Restart needed", "Refused",
      "Bounce failed"}},
    {Id::kLoad, "load", "Server load", "%", Form::kNumber, 0, 1000, 0, true, kNone},
}};

bool same_letters(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

}  // namespace

const std::array<Parameter, kParameterCount>& parameters() noexcept { return kParameters; }

const Parameter* find_parameter(std::string_view symbol) noexcept {
  for (const Parameter& p : kParameters)
    if (symbol == p.symbol) return &p;
  return nullptr;
}

double conform(const Parameter& p, double value) noexcept {
  if (std::isnan(value)) return p.initial;
  value = std::clamp(value, p.low, p.high);
  return p.stepped() ? std::floor(value + 0.5) : value;
}

double to_normalized(const Parameter& p, double value) noexcept {
  return (conform(p, value) - p.low) / (p.high - p.low);
}

double from_normalized(const Parameter& p, double value) noexcept {
  if (std::isnan(value)) return p.initial;
  return conform(p, p.low + std::clamp(value, 0.0, 1.0) * (p.high - p.low));
}

std::string write_number(double value, int digits) {
  std::ostringstream stream;
  stream.imbue(std::locale::classic());
  stream.precision(digits);
  stream << value;
  return stream.str();
}

std::optional<double> read_number(std::string_view text) {
  std::istringstream stream{std::string(text)};
  stream.imbue(std::locale::classic());
  double value = 0.0;
  if (text.empty() || !(stream >> value) || stream.peek() != std::istringstream::traits_type::eof()) return {};
  if (!std::isfinite(value)) return {};
  return value;
}

std::string to_text(const Parameter& p, double value) {
  value = conform(p, value);
  if (p.form == Form::kChoice) return p.choices[static_cast<size_t>(value)];
  if (p.form == Form::kSwitch || p.form == Form::kTrigger) return value != 0.0 ? "On" : "Off";
  if (p.id == Id::kGate && value <= p.low) return "Off";
  if (p.form == Form::kWhole) return std::to_string(static_cast<int64_t>(value));
  const double scale = p.id == Id::kTemperature ? 100.0 : 10.0;
  std::ostringstream stream;
  stream.imbue(std::locale::classic());
  stream.setf(std::ios::fixed);
  stream.precision(p.id == Id::kTemperature ? 2 : 1);
  stream << std::round(value * scale) / scale + 0.0;  // never "-0.0"
  if (p.unit[0] != '\0') stream << ' ' << p.unit;
  return stream.str();
}

std::optional<double> from_text(const Parameter& p, std::string_view text) {
  text = trimmed(text);
  for (size_t i = 0; p.form == Form::kChoice && i < p.choices.size() && p.choices[i]; ++i)
    if (same_letters(text, p.choices[i])) return static_cast<double>(i);
  if (p.form == Form::kSwitch || p.form == Form::kTrigger) {
    if (same_letters(text, "on")) return 1.0;
    if (same_letters(text, "off")) return 0.0;
  }
  if (p.id == Id::kGate && same_letters(text, "off")) return p.low;
  const std::string_view unit = p.unit;
  if (!unit.empty() && text.size() > unit.size() && same_letters(text.substr(text.size() - unit.size()), unit))
    text = trimmed(text.substr(0, text.size() - unit.size()));
  const auto value = read_number(text);
  if (!value) return {};
  return conform(p, *value);
}

double margin_ms(double choice) noexcept {
  return kMarginsMs[static_cast<size_t>(conform(parameter(Id::kMargin), choice))];
}

}  // namespace rtplugin
