// The control thread of a client: finds the server, opens a session for a Bridge, keeps it, and comes back to the same
// session with the same sound whenever the server left, whoever started first. The C++ twin of rtserver/connection.py
// and of the control side of rtserver/client.py. Knows nothing of plugins; no exception leaves it.
//
// Everything that may block (name look-up, sockets, mapping memory, starting a server) happens on its own thread. The
// audio thread never meets it: what it sets, it sets by atomics.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "rtbridge/bridge.h"
#include "rtbridge/osc_control.h"
#include "rtbridge/remote_link.h"
#include "rtbridge/udp_socket.h"

namespace rtbridge {

struct ServerAddress {
  std::string host = "127.0.0.1";
  uint16_t port = 9000;
  std::string key;
  bool remote = false;         // audio over OSC; always so for hosts other than this machine
  double jitter_ms = 20.0;     // remote only
  std::string server_command;  // started once when nobody listens on this machine; "" (the default) starts nothing
};
bool is_this_machine(const std::string& host);

struct ServedModel {
  std::string name, sha256;  // the probes have no hash
  bool probe = false;
  bool loopback = false;
  uint32_t hop_samples = 0, lookahead_samples = 0;
  std::vector<std::string> decoders;
};
struct Served {
  std::string default_model;
  std::vector<ServedModel> models;
};
std::optional<Served> parse_models(std::string_view json);  // nothing for what is no /rt/models.reply

enum class Link : uint32_t {
  kIdle,        // no stream wanted
  kNoServer,    // nobody answers
  kConnecting,  // somebody does, or may
  kConnected,
  kUnplayable,  // the server has not what is wanted, or the latency does not fit: see message()
  kRefused,     // the server said no: see message()
};

// What to play, asked whenever a session is about to be opened.
class Guide {
 public:
  struct Choice {
    std::string model, decoder;
    uint32_t decoder_index = 0;
  };
  virtual ~Guide() = default;
  // [control thread] What the server has, whenever it was heard.
  virtual void learn(const Served& served) = 0;
  // [control thread] Gives false and why_not when nothing of it can be played.
  virtual bool choose(const Served& served, Choice& choice, std::string& why_not) = 0;
  // [control or main thread] link() or message() is another now. Must not call the client.
  virtual void link_changed() {}
};

struct StreamWish {
  uint32_t rate_hz = 48000, max_block_frames = 128, channels = 1, latency_frames = 0;
  double margin_ms = 5.0;
};

class ControlClient {
 public:
  explicit ControlClient(Guide& guide);
  ~ControlClient();  // stops
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  // [main thread] Starts the thread, if need be, and asks what is served. Gives whether that is known within the time;
  // returns at once when nobody listens.
  bool ask(const ServerAddress& address, uint32_t timeout_ms);
  // [main thread] Has the bridge connected from now on until close(). The bridge must outlive that.
  void open(Bridge& bridge, const StreamWish& wish);
  void close();  // [main thread] lets go of the bridge and ends the session
  // [main thread, or an audio thread that may wait] True once connected; false as soon as it can't be, or in the end.
  // patient: waits for a server that is still starting.
  bool wait_connected(uint32_t timeout_ms, bool patient) noexcept;

  void choose_again() noexcept { choose_again_.store(true, std::memory_order_release); }  // [any thread, wait-free]
  // [any thread, wait-free] Whether the stream is a bounce: a server that was too busy for a live one is asked again.
  void set_offline(bool offline) noexcept { offline_.store(offline, std::memory_order_release); }
  void set(Param param, double value) noexcept;  // [any thread, wait-free] for later connections, and remote servers

  Link link() const noexcept { return link_.load(std::memory_order_acquire); }   // [any thread, wait-free]
  float load() const noexcept { return load_.load(std::memory_order_relaxed); }  // of the server, in cores
  uint32_t reconnects() const noexcept { return reconnects_.load(std::memory_order_relaxed); }
  std::string message() const;  // [main thread] why it is not connected; ""

 private:
  enum class Phase { kResting, kAsking, kConnecting, kConnected };

  void run() noexcept;
  void step(uint64_t now_ns);
  void begin_asking(uint64_t now_ns);
  void receive(uint64_t now_ns);
  void take(const ControlReply& reply, uint64_t now_ns);
  void take_models(const ModelsReply& reply, uint64_t now_ns);
  void request_session(uint64_t now_ns);
  void attach(const ConnectedReply& reply);
  void look_after(uint64_t now_ns);
  void take_load(const StatusReply& reply);
  void send_parameters(uint64_t now_ns);
  void let_go() noexcept;
  void rest(uint64_t now_ns, uint64_t for_ns, Link link, std::string why);
  void send(const std::vector<uint8_t>& datagram) noexcept;
  void start_server(uint64_t now_ns);
  bool lost(uint64_t now_ns) const noexcept;
  bool ask_as_bounce() const noexcept;
  uint64_t retry_ns() const noexcept;
  void announce(Link link, std::string why);

  Guide& guide_;
  mutable std::mutex mutex_;  // between main and control thread; the audio thread never takes it
  std::condition_variable changed_, wake_;
  std::thread thread_;
  bool quit_ = false;

  // Under the mutex.
  ServerAddress address_;
  Bridge* bridge_ = nullptr;
  StreamWish wish_;
  std::optional<UdpSocket> socket_;
  std::optional<OscControl> osc_;
  std::optional<Served> served_;
  Phase phase_ = Phase::kResting;
  ConnectRequest request_;
  Guide::Choice playing_;
  uint32_t session_ = 0;
  std::shared_ptr<Segment> segment_;
  std::unique_ptr<RemoteLink> remote_;
  uint64_t next_ns_ = 0, repeat_ns_ = 0, deadline_ns_ = 0;
  uint64_t load_at_ns_ = 0;
  uint64_t parameters_at_ns_ = 0;
  double sent_[static_cast<size_t>(Param::kCount)]{};
  uint32_t repeats_[static_cast<size_t>(Param::kCount)]{};
  std::string message_;
  std::vector<uint8_t> datagram_;
  uint64_t rounds_ = 0;  // answers to /rt/models, and attempts that ended without one
  bool new_address_ = false, ask_wanted_ = false, served_fresh_ = false;
  bool refused_live_ = false;  // the last answer was a refusal, and of no bounce

  std::atomic<double> values_[static_cast<size_t>(Param::kCount)];
  std::atomic<uint32_t> given_{0};  // bits of the parameters that were set
  std::atomic<uint32_t> reconnects_{0};
  std::atomic<bool> choose_again_{false}, offline_{false};
  std::atomic<Link> link_{Link::kIdle};
  std::atomic<float> load_{0.0f};
};

}  // namespace rtbridge
