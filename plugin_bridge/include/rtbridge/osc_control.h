// The client's half of the control protocol (docs/osc.md): requests to bytes, answers to values, sealed or not. The
// C++ twin of rtserver/osc for the messages that a client sends and hears. No sockets here.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "rtbridge/bridge.h"
#include "rtbridge/hmac_sha256.h"
#include "rtbridge/layout.h"
#include "rtbridge/osc_seal.h"

namespace rtbridge {

struct ConnectRequest {
  bool remote = false;  // audio over OSC instead of shared memory
  uint32_t rate_hz = 48000;
  uint32_t max_block_frames = 128;
  uint32_t channels = 1;
  uint32_t client_pid = 0;
  uint32_t wanted_latency_frames = 0;
  std::string model;
  double margin_ms = 5.0;
  std::string decoder;  // "": the server's choice
  uint64_t seed = 0;
  double jitter_ms = 0.0;  // remote only
  uint32_t session = 0;    // 0: a new one
  bool offline = false;    // a bounce, which a server that is busy lets in
};

struct ConnectedReply {
  uint32_t session = 0;
  std::string shm;  // "" when audio travels over OSC
  uint32_t generation = 0;
  uint16_t audio_port = 0;
  rt_latency latency{};
};

struct ModelsReply {
  std::string json;
};
struct StatusReply {
  std::string json;
};
struct ErrorReply {
  std::string code, text;
};
struct ParameterMessage {  // a parameter that the server passes on to a remote client
  uint32_t session = 0;
  Param param = Param::kMix;
  double value = 0.0;
};
using ControlReply = std::variant<ConnectedReply, ModelsReply, StatusReply, ErrorReply, ParameterMessage>;

// Name of a parameter in OSC addresses.
const char* osc_name(Param param) noexcept;

// [one thread] Writes requests and reads answers of one connection; with a key it seals and checks seals.
class OscControl {
 public:
  explicit OscControl(const std::string& key = {});

  std::vector<uint8_t> connect(const ConnectRequest& request);
  std::vector<uint8_t> disconnect(uint32_t session);
  std::vector<uint8_t> models();
  std::vector<uint8_t> status();
  std::vector<uint8_t> set(uint32_t session, Param param, double value);

  // Nothing for what is malformed, of no interest, or not authentic.
  std::optional<ControlReply> read(const uint8_t* datagram, size_t bytes);
  uint64_t refused() const noexcept { return refused_; }

 private:
  struct Argument {
    char tag;
    int64_t integer = 0;
    float real = 0.0f;
    std::string_view text = {};
  };
  std::vector<uint8_t> message(std::string_view address, const std::vector<Argument>& arguments);
  std::optional<ControlReply> interpret(std::string_view address, const std::vector<Argument>& arguments) const;

  std::optional<HmacSha256> key_;
  NonceSource nonces_;
  ReplayWindow window_;
  uint64_t refused_ = 0;
};

}  // namespace rtbridge
