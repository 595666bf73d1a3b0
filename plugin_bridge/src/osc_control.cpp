#include "rtbridge/osc_control.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <locale>
#include <sstream>

#include "big_endian.h"

namespace rtbridge {
namespace {

constexpr const char* kNames[static_cast<size_t>(Param::kCount)] = {
    "mix",    "output_gain_db", "input_gain_db", "gate_db", "temperature",
    "bypass", "fallback",       "decoder",       "seed",    "panic"};
constexpr size_t kArgumentsMax = 64;
constexpr uint32_t kLatencyMax = 1u << 24;

bool is_float(Param param) noexcept {
  return param == Param::kMix || param == Param::kOutputGainDb || param == Param::kInputGainDb ||
         param == Param::kGateDb || param == Param::kTemperature;
}

void put_text(std::vector<uint8_t>& out, std::string_view text) {
  out.insert(out.end(), text.begin(), text.end());
  do out.push_back(0);
  while (out.size() % 4 != 0);
}

void put_word(std::vector<uint8_t>& out, uint32_t word) {
  uint8_t bytes[4];
  put_be32(bytes, word);
  out.insert(out.end(), bytes, bytes + 4);
}

std::string decimal(double value) {
  std::ostringstream stream;
  stream.imbue(std::locale::classic());  // the host's locale may write a comma
  stream << value;
  return stream.str();
}

// Reads forward through a datagram; every length is checked.
struct Reader {
  const uint8_t* data;
  size_t bytes;
  size_t at = 0;

  bool text(std::string_view& found) noexcept {
    const void* end = at < bytes ? std::memchr(data + at, 0, bytes - at) : nullptr;
    if (!end) return false;
    const size_t length = static_cast<size_t>(static_cast<const uint8_t*>(end) - (data + at));
    found = {reinterpret_cast<const char*>(data + at), length};
    at += length + 4 - length % 4;
    return at <= bytes;
  }
  bool word(uint32_t& value) noexcept {
    if (bytes - at < 4) return false;
    value = get_be32(data + at);
    at += 4;
    return true;
  }
};

}  // namespace

const char* osc_name(Param param) noexcept { return kNames[static_cast<size_t>(param)]; }

OscControl::OscControl(const std::string& key) {
  if (!key.empty()) key_.emplace(reinterpret_cast<const uint8_t*>(key.data()), key.size());
}

std::vector<uint8_t> OscControl::message(std::string_view address, const std::vector<Argument>& arguments) {
  std::vector<uint8_t> out;
  put_text(out, address);
  std::string tags = ",";
  for (const Argument& a : arguments) tags += a.tag;
  if (key_) tags += "hb";
  put_text(out, tags);
  for (const Argument& a : arguments) {
    if (a.tag == 's') {
      put_text(out, a.text);
    } else if (a.tag == 'f') {
      put_word(out, std::bit_cast<uint32_t>(a.real));
    } else if (a.tag == 'h') {
      put_word(out, static_cast<uint32_t>(static_cast<uint64_t>(a.integer) >> 32));
      put_word(out, static_cast<uint32_t>(a.integer));
    } else {
      put_word(out, static_cast<uint32_t>(a.integer));
    }
  }
  if (key_) {
    const size_t open_bytes = out.size();
    out.resize(open_bytes + kSealBytes);
    put_seal(*key_, nonces_.next(unix_time_us()), out.data(), open_bytes);
  }
  return out;
}

std::vector<uint8_t> OscControl::connect(const ConnectRequest& r) {
  const std::string margin = decimal(r.margin_ms), seed = std::to_string(r.seed), jitter = decimal(r.jitter_ms),
                    session = std::to_string(r.session);
  std::vector<Argument> arguments{{'s', 0, 0, r.remote ? "osc" : "shm"},
                                  {'i', r.rate_hz},
                                  {'i', r.max_block_frames},
                                  {'i', r.channels},
                                  {'i', r.client_pid},
                                  {'i', r.wanted_latency_frames},
                                  {'s', 0, 0, r.model}};
  const auto option = [&](std::string_view name, std::string_view value) {
    arguments.push_back({'s', 0, 0, name});
    arguments.push_back({'s', 0, 0, value});
  };
  option("margin", margin);
  if (!r.decoder.empty()) option("decoder", r.decoder);
  option("seed", seed);
  if (r.remote) option("jitter_ms", jitter);
  if (r.session != 0) option("session", session);
  if (r.offline) option("offline", "1");
  return message("/rt/connect", arguments);
}

std::vector<uint8_t> OscControl::disconnect(uint32_t session) { return message("/rt/disconnect", {{'i', session}}); }
std::vector<uint8_t> OscControl::models() { return message("/rt/models", {}); }
std::vector<uint8_t> OscControl::status() { return message("/rt/status", {}); }

std::vector<uint8_t> OscControl::set(uint32_t session, Param param, double value) {
  const std::string address = "/rt/" + std::to_string(session) + '/' + osc_name(param);
  if (is_float(param)) return message(address, {{'f', 0, static_cast<float>(value)}});
  return message(address, {{param == Param::kSeed ? 'h' : 'i', static_cast<int64_t>(value)}});
}

std::optional<ControlReply> OscControl::read(const uint8_t* datagram, size_t bytes) {
  ++refused_;
  Reader reader{datagram, bytes};
  std::string_view address, tags;
  if (bytes % 4 != 0 || !reader.text(address) || !reader.text(tags) || tags.empty() || tags[0] != ',') return {};
  tags.remove_prefix(1);
  const bool sealed = tags.size() >= 2 && tags.substr(tags.size() - 2) == "hb";
  if (key_) {
    if (check_seal(*key_, window_, datagram, bytes, sealed) != Refused::kNothing) return {};
  }
  if (sealed) tags.remove_suffix(2);
  if (tags.size() > kArgumentsMax) return {};
  std::vector<Argument> arguments;
  for (const char tag : tags) {
    Argument a{tag};
    uint32_t high = 0, low = 0;
    switch (tag) {
      case 's':
        if (!reader.text(a.text)) return {};
        break;
      case 'i':
        if (!reader.word(low)) return {};
        a.integer = static_cast<int32_t>(low);
        break;
      case 'h':
        if (!reader.word(high) || !reader.word(low)) return {};
        a.integer = static_cast<int64_t>(uint64_t{high} << 32 | low);
        break;
      case 'f':
        if (!reader.word(low)) return {};
        a.real = std::bit_cast<float>(low);
        break;
      case 'T':
      case 'F':
        a.integer = tag == 'T';
        break;
      default:
        return {};
    }
    arguments.push_back(a);
  }
  if (reader.at + (sealed ? kSealBytes : 0) != bytes) return {};
  auto reply = interpret(address, arguments);
  if (reply) --refused_;
  return reply;
}

std::optional<ControlReply> OscControl::interpret(std::string_view address,
                                                  const std::vector<Argument>& arguments) const {
  const auto shape = [&](std::string_view tags) {
    if (tags.size() != arguments.size()) return false;
    for (size_t i = 0; i < tags.size(); ++i)
      if (arguments[i].tag != tags[i]) return false;
    return true;
  };
  const auto text = [&](size_t i) { return std::string(arguments[i].text); };
  if (address == "/rt/models.reply" && shape("s")) return ModelsReply{text(0)};
  if (address == "/rt/status.reply" && shape("s")) return StatusReply{text(0)};
  if (address == "/rt/error" && shape("ss")) return ErrorReply{text(0), text(1)};
  if (address == "/rt/connected" && shape("isiiiiiiiiii")) {
    for (size_t i = 2; i < arguments.size(); ++i)
      if (arguments[i].integer < 0 || (i > 2 && arguments[i].integer > kLatencyMax)) return {};
    if (arguments[0].integer < 1 || arguments[3].integer > 65535) return {};
    const auto word = [&](size_t i) { return static_cast<uint32_t>(arguments[i].integer); };
    ConnectedReply reply;
    reply.session = word(0);
    reply.shm = text(1);
    reply.generation = word(2);
    reply.audio_port = static_cast<uint16_t>(word(3));
    reply.latency = {word(4), word(5), word(6), word(7), word(8), word(9), word(10), word(11)};
    return reply;
  }
  // "/rt/<session>/<parameter>"
  if (address.substr(0, 4) != "/rt/" || arguments.size() != 1) return {};
  address.remove_prefix(4);
  uint32_t session = 0;
  size_t digits = 0;
  while (digits < address.size() && digits < 10 && address[digits] >= '0' && address[digits] <= '9')
    session = session * 10 + static_cast<uint32_t>(address[digits++] - '0');
  if (digits == 0 || digits >= address.size() || address[digits] != '/') return {};
  address.remove_prefix(digits + 1);
  for (size_t i = 0; i < static_cast<size_t>(Param::kCount); ++i) {
    if (address != kNames[i]) continue;
    const Argument& a = arguments[0];
    double value = a.tag == 'f' ? a.real : static_cast<double>(a.integer);
    if (a.tag == 's') {
      if (static_cast<Param>(i) != Param::kFallback || (a.text != "dry" && a.text != "silence")) return {};
      value = a.text == "silence" ? 1.0 : 0.0;
    }
    if (!std::isfinite(value)) return {};
    return ParameterMessage{session, static_cast<Param>(i), value};
  }
  return {};
}

}  // namespace rtbridge
