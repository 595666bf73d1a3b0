#include "core/state.h"

#include <cstdint>
#include <vector>

namespace rtplugin {
namespace {

constexpr std::string_view kHeader = "rtserver-plugin";
constexpr int kVersion = 1;
constexpr size_t kNameBytesMax = 1024;

uint32_t crc32(std::string_view bytes) noexcept {
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
  }
  return ~crc;
}

std::string hex8(uint32_t value) {
  std::string text(8, '0');
  for (int i = 7; i >= 0; --i, value >>= 4) text[static_cast<size_t>(i)] = "0123456789abcdef"[value & 15];
  return text;
}

bool plain(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

std::string encoded(const std::string& name) {
  if (name.empty()) return "%";
  std::string text;
  for (const char c : name) {
    if (plain(c)) {
      text += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      text += {'%', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
    }
  }
  return text;
}

int hex_digit(char c) noexcept { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

std::optional<std::string> decoded(std::string_view text) {
  std::string name;
  if (text == "%") return name;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      name += text[i];
      continue;
    }
    if (text.size() - i < 3 || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) return {};
    name += static_cast<char>(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
    i += 2;
  }
  if (name.size() > kNameBytesMax) return {};
  return name;
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t end = line.find(' ');
    words.push_back(line.substr(0, end));
    line = end == std::string_view::npos ? std::string_view{} : line.substr(end + 1);
  }
  return words;
}

bool is_hash(std::string_view text) noexcept {
  if (text.size() != 64) return false;
  for (const char c : text)
    if (hex_digit(c) < 0) return false;
  return true;
}

bool read_parameter(const std::vector<std::string_view>& words, State& state) {
  if (words.size() != 3) return false;
  const auto value = read_number(words[2]);
  if (!value) return false;
  const Parameter* p = find_parameter(words[1]);
  if (p && !p->read_out) state.values[static_cast<size_t>(p->id)] = conform(*p, *value);
  return true;  // one that a later version has is passed over
}

bool read_instrument(const std::vector<std::string_view>& words, State& state) {
  if (words.size() != 8) return false;
  const auto number = read_number(words[1]), hop = read_number(words[3]), lookahead = read_number(words[4]);
  const auto model = decoded(words[6]), decoder = decoded(words[7]);
  const auto within = [](std::optional<double> x, double high) {
    return x && *x >= 0 && *x <= high && *x == static_cast<double>(static_cast<uint32_t>(*x));
  };
  if (!within(number, kInstrumentSlots - 1) || !within(hop, 1e6) || !within(lookahead, 1e6) || !model || !decoder ||
      model->empty() || (words[2] != "-" && !is_hash(words[2])) || (words[5] != "0" && words[5] != "1"))
    return false;
  state.instruments.put(static_cast<uint32_t>(*number),
                        {*model,
                         words[2] == "-" ? "" : std::string(words[2]),
                         *decoder,
                         {static_cast<uint32_t>(*hop), static_cast<uint32_t>(*lookahead), words[5] == "1"}});
  return true;
}

}  // namespace

State::State() {
  for (const Parameter& p : parameters()) values[static_cast<size_t>(p.id)] = p.initial;
}

std::string write_state(const State& state) {
  std::string text(kHeader);
  text += ' ' + std::to_string(kVersion) + '\n';
  for (const Parameter& p : parameters())
    if (!p.read_out && p.form != Form::kTrigger)
      text += std::string("set ") + p.symbol + ' ' + write_number(state.values[static_cast<size_t>(p.id)], 17) + '\n';
  for (uint32_t number = 0; number < state.instruments.size(); ++number) {
    const Instrument& i = state.instruments.at(number);
    if (!i.known()) continue;
    text += "instrument " + std::to_string(number) + ' ' + (i.sha256.empty() ? "-" : i.sha256) + ' ' +
            std::to_string(i.delay.hop_samples) + ' ' + std::to_string(i.delay.lookahead_samples) +
            (i.delay.loopback ? " 1 " : " 0 ") + encoded(i.model) + ' ' + encoded(i.decoder) + '\n';
  }
  return text + "end " + hex8(crc32(text)) + '\n';
}

std::optional<State> read_state(std::string_view text, std::string& why_not) {
  const auto refuse = [&](std::string why) {
    why_not = std::move(why);
    return std::nullopt;
  };
  if (text.empty()) return refuse("the saved state is empty");
  if (text.size() > kStateBytesMax) return refuse("the saved state is too large");
  if (text.substr(0, kHeader.size() + 1) != std::string(kHeader) + ' ') return refuse("not a state of this plugin");
  const size_t last = text.size() < 2 ? std::string_view::npos : text.rfind('\n', text.size() - 2);
  if (text.back() != '\n' || last == std::string_view::npos) return refuse("the saved state is cut short");
  const std::string_view body = text.substr(0, last + 1);
  const std::string_view first_line = text.substr(0, text.find('\n'));
  const auto version = read_number(first_line.substr(kHeader.size() + 1));
  if (!version || *version != kVersion)
    return refuse("the state is of version " + std::string(first_line.substr(kHeader.size() + 1).substr(0, 20)) +
                  ", expected " + std::to_string(kVersion) + ": update the plugin");
  if (text.substr(last + 1) != "end " + hex8(crc32(body)) + '\n')
    return refuse("the saved state is cut short or damaged");

  State state;
  size_t at = first_line.size() + 1;
  while (at < body.size()) {
    const size_t end = body.find('\n', at);
    const auto words = split(body.substr(at, end - at));
    at = end + 1;
    const bool good = words.empty()              ? false
                      : words[0] == "set"        ? read_parameter(words, state)
                      : words[0] == "instrument" ? read_instrument(words, state)
                                                 : true;
    if (!good) return refuse("the saved state has a line that can't be read");
  }
  return state;
}

}  // namespace rtplugin
