#include "rtbridge/control_client.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <variant>

#include "rtbridge/atomics.h"
#include "rtbridge/json.h"
#include "rtbridge/launch.h"

namespace rtbridge {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kLookNs = 50 * kMs;           // how often the thread looks after a session
constexpr uint64_t kRetryNs = 250 * kMs;         // after nobody answered; a refused datagram costs next to nothing
constexpr uint64_t kRepeatNs = 250 * kMs;        // of a request, as datagrams get lost
constexpr uint64_t kLoadingNs = 200 * kMs;       // the server said that it is loading
constexpr uint64_t kAnswerNs = 3000 * kMs;       // for an answer
constexpr uint64_t kRefusedNs = 2000 * kMs;      // after a refusal
constexpr uint64_t kStaleNs = 1000 * kMs;        // without a heartbeat; the bridge plays dry long before
constexpr uint64_t kLoadNs = 2000 * kMs;         // between two questions for the load
constexpr uint64_t kStartAgainNs = 60000 * kMs;  // between two attempts at starting a server
constexpr uint32_t kRepeats = 3;                 // of a parameter over OSC
constexpr size_t kDatagramMax = 65536;
constexpr size_t kModelsMax = 256, kDecodersMax = 256;

constexpr size_t index(Param param) { return static_cast<size_t>(param); }
// Parameters that the server of a remote session obeys; the client sees to the others itself.
constexpr bool is_servers(Param param) {
  return param == Param::kInputGainDb || param == Param::kGateDb || param == Param::kTemperature ||
         param == Param::kDecoder || param == Param::kSeed;
}

std::string place(const ServerAddress& a) { return a.host + ":" + std::to_string(a.port); }

}  // namespace

bool is_this_machine(const std::string& host) { return host == "127.0.0.1" || host == "::1" || host == "localhost"; }

std::optional<Served> parse_models(std::string_view text) {
  const auto json = Json::parse(text);
  if (!json || (*json)["models"].kind() != Json::Kind::kArray) return std::nullopt;
  Served served;
  served.default_model = (*json)["default"].text();
  for (const Json& entry : (*json)["models"].items()) {
    if (entry["name"].text().empty() || served.models.size() == kModelsMax) continue;
    const auto samples = [&](const char* key) {
      return static_cast<uint32_t>(std::clamp(entry[key].number(), 0.0, 1e6));
    };
    ServedModel model;
    model.name = entry["name"].text();
    model.sha256 = entry["sha256"].text();
    model.probe = entry["kind"].text() != "model";
    model.loopback = entry["kind"].text() == "loopback";
    model.hop_samples = samples("hop_samples");
    model.lookahead_samples = samples("lookahead_samples");
    for (const Json& decoder : entry["decoders"].items())
      if (model.decoders.size() < kDecodersMax) model.decoders.push_back(decoder.text());
    served.models.push_back(std::move(model));
  }
  return served;
}

ControlClient::ControlClient(Guide& guide) : guide_(guide), datagram_(kDatagramMax) {
  for (auto& value : values_) value.store(0.0);
}

ControlClient::~ControlClient() {
  if (!thread_.joinable()) return;
  close();
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

// --- main thread ---

bool ControlClient::ask(const ServerAddress& address, uint32_t timeout_ms) {
  std::unique_lock lock(mutex_);
  const bool same = address.host == address_.host && address.port == address_.port && address.key == address_.key;
  if (!same || !socket_) new_address_ = true;
  address_ = address;
  ask_wanted_ = true;
  if (phase_ == Phase::kResting) next_ns_ = 0;
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  const uint64_t round = rounds_;
  wake_.notify_all();
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return rounds_ != round; });
  return rounds_ != round && served_fresh_;
}

void ControlClient::open(Bridge& bridge, const StreamWish& wish) {
  const std::lock_guard lock(mutex_);
  bridge_ = &bridge;
  wish_ = wish;
  if (phase_ == Phase::kResting) next_ns_ = 0;
  announce(Link::kConnecting, {});
  wake_.notify_all();
}

void ControlClient::close() {
  const std::lock_guard lock(mutex_);
  if (bridge_) {
    const bool over = !segment_ || load_acquire(segment_->header().closed_by_server) != 0;
    if (session_ != 0 && osc_ && !over) send(osc_->disconnect(session_));
    let_go();
  }
  bridge_ = nullptr;
  session_ = 0;
  phase_ = Phase::kResting;
  ask_wanted_ = refused_live_ = false;
  announce(Link::kIdle, {});
}

void ControlClient::let_go() noexcept {
  bridge_->detach();
  remote_.reset();
  segment_.reset();
  load_.store(0.0f, std::memory_order_relaxed);
}

bool ControlClient::wait_connected(uint32_t timeout_ms, bool patient) noexcept {
  std::unique_lock lock(mutex_);
  const auto decided = [&] {
    switch (link()) {
      case Link::kConnected:
      case Link::kIdle:
      case Link::kUnplayable:
        return true;
      case Link::kRefused:
        return !ask_as_bounce();
      case Link::kNoServer:
        return !patient;
      case Link::kConnecting:
        break;
    }
    return false;
  };
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), decided);
  return link() == Link::kConnected;
}

std::string ControlClient::message() const {
  const std::lock_guard lock(mutex_);
  return message_;
}

void ControlClient::set(Param param, double value) noexcept {
  values_[index(param)].store(value, std::memory_order_relaxed);
  given_.fetch_or(1u << index(param), std::memory_order_release);
}

// --- control thread ---

void ControlClient::run() noexcept {
  std::unique_lock lock(mutex_);
  while (!quit_) {
    const uint64_t now = monotonic_ns();
    try {
      step(now);
    } catch (const std::exception& error) {
      rest(now, retry_ns(), Link::kNoServer, error.what());  // memory that vanished with its server, most likely
    }
    const bool expecting = socket_ && (phase_ == Phase::kAsking || phase_ == Phase::kConnecting);
    if (expecting) {
      lock.unlock();  // this thread alone replaces the socket
      socket_->wait(5);
      lock.lock();
    } else {
      wake_.wait_for(lock, std::chrono::nanoseconds(kLookNs));
    }
  }
}

void ControlClient::step(uint64_t now_ns) {
  if (new_address_) {
    new_address_ = false;
    socket_.reset();
    osc_.reset();
    served_.reset();
    served_fresh_ = false;
    phase_ = Phase::kResting;
    next_ns_ = 0;
  }
  receive(now_ns);
  switch (phase_) {
    case Phase::kResting:
      // Once a choice, and not until it has been answered: where no server listens that would be without a pause.
      if (bridge_ && choose_again_.exchange(false, std::memory_order_acq_rel)) next_ns_ = 0;
      if (ask_as_bounce()) {
        refused_live_ = false;
        next_ns_ = 0;
        announce(Link::kConnecting, {});
      }
      if ((!bridge_ && !ask_wanted_) || now_ns < next_ns_) return;
      if (bridge_ && served_fresh_)
        request_session(now_ns);
      else
        begin_asking(now_ns);
      return;
    case Phase::kAsking:
    case Phase::kConnecting:
      if (now_ns >= deadline_ns_)
        return rest(now_ns, retry_ns(), Link::kNoServer, place(address_) + " does not answer");
      if (now_ns < repeat_ns_) return;
      repeat_ns_ = now_ns + kRepeatNs;
      return send(phase_ == Phase::kAsking ? osc_->models() : osc_->connect(request_));
    case Phase::kConnected:
      return look_after(now_ns);
  }
}

void ControlClient::begin_asking(uint64_t now_ns) {
  if (!socket_) {
    osc_.emplace(address_.key);
    socket_.emplace(UdpSocket::connected(address_.host, address_.port));
  }
  phase_ = Phase::kAsking;
  deadline_ns_ = now_ns + kAnswerNs;
  repeat_ns_ = now_ns + kRepeatNs;
  send(osc_->models());
}

void ControlClient::receive(uint64_t now_ns) {
  Endpoint from;
  for (int i = 0; socket_ && i < 32; ++i) {
    const int bytes = socket_->receive(datagram_.data(), datagram_.size(), from);
    if (bytes >= 0) {
      if (const auto reply = osc_->read(datagram_.data(), static_cast<size_t>(bytes))) take(*reply, now_ns);
      continue;
    }
    if (!socket_->refused()) return;
    if (phase_ == Phase::kAsking || phase_ == Phase::kConnecting) {
      start_server(now_ns);
      rest(now_ns, retry_ns(), Link::kNoServer,
           "no server on " + place(address_) + "; start one with: rtserver --model piano.pt --port " +
               std::to_string(address_.port));
    }
  }
}

void ControlClient::take(const ControlReply& reply, uint64_t now_ns) {
  if (const auto* models = std::get_if<ModelsReply>(&reply)) {
    if (phase_ == Phase::kAsking) take_models(*models, now_ns);
  } else if (const auto* connected = std::get_if<ConnectedReply>(&reply)) {
    if (phase_ == Phase::kConnecting) attach(*connected);
  } else if (const auto* error = std::get_if<ErrorReply>(&reply)) {
    if (phase_ != Phase::kAsking && phase_ != Phase::kConnecting) return;
    if (error->code == "loading") {
      deadline_ns_ = now_ns + kAnswerNs;
      repeat_ns_ = now_ns + kLoadingNs;
      if (bridge_ && link() == Link::kNoServer) announce(Link::kConnecting, error->text);
      message_ = error->text;
    } else if (phase_ == Phase::kConnecting && error->text.rfind("no session ", 0) != 0) {  // of a late goodbye
      session_ = 0;
      refused_live_ = !request_.offline;
      if (segment_) let_go();
      rest(now_ns, kRefusedNs, Link::kRefused, error->text);
    }
  } else if (const auto* status = std::get_if<StatusReply>(&reply)) {
    if (phase_ == Phase::kConnected) take_load(*status);
  } else if (const auto* parameter = std::get_if<ParameterMessage>(&reply)) {
    if (phase_ == Phase::kConnected && remote_ && parameter->session == session_)
      bridge_->set(parameter->param, parameter->value);
  }
}

void ControlClient::take_models(const ModelsReply& reply, uint64_t now_ns) {
  auto served = parse_models(reply.json);
  if (!served) return;
  served_ = std::move(served);
  served_fresh_ = true;
  ask_wanted_ = false;
  guide_.learn(*served_);
  ++rounds_;
  phase_ = Phase::kResting;
  next_ns_ = now_ns;
  if (bridge_) request_session(now_ns);
  changed_.notify_all();
}

void ControlClient::request_session(uint64_t now_ns) {
  choose_again_.exchange(false, std::memory_order_acq_rel);  // what is chosen after this is asked for once more
  served_fresh_ = false;
  Guide::Choice choice;
  std::string why_not;
  if (!guide_.choose(*served_, choice, why_not)) {
    if (segment_) let_go();
    return rest(now_ns, kRefusedNs, Link::kUnplayable, std::move(why_not));
  }
  playing_ = std::move(choice);
  request_ = {};
  request_.remote = address_.remote || !is_this_machine(address_.host);
  request_.rate_hz = wish_.rate_hz;
  request_.max_block_frames = wish_.max_block_frames;
  request_.channels = wish_.channels;
  request_.client_pid = current_pid();
  request_.wanted_latency_frames = wish_.latency_frames;
  request_.model = playing_.model;
  request_.decoder = playing_.decoder;
  request_.margin_ms = wish_.margin_ms;
  request_.jitter_ms = address_.jitter_ms;
  request_.seed = static_cast<uint64_t>(std::max(values_[index(Param::kSeed)].load(), 0.0));
  request_.session = session_;
  request_.offline = offline_.load(std::memory_order_acquire);
  phase_ = Phase::kConnecting;
  deadline_ns_ = now_ns + kAnswerNs;
  repeat_ns_ = now_ns + kRepeatNs;
  if (link() != Link::kRefused) announce(Link::kConnecting, {});  // the reason stays to be read until it is another
  send(osc_->connect(request_));
}

void ControlClient::attach(const ConnectedReply& reply) {
  std::shared_ptr<Segment> segment;
  std::unique_ptr<RemoteLink> remote;
  if (!reply.shm.empty()) {
    segment = Segment::open(reply.shm);
  } else {
    Geometry g;
    g.session = reply.session;
    g.generation = reply.generation;
    g.sample_rate_hz = wish_.rate_hz;
    g.max_block_frames = wish_.max_block_frames;
    g.channels = wish_.channels;
    g.transport = RT_TRANSPORT_REMOTE;
    g.latency = reply.latency;
    segment = Segment::create("", g);
    remote = std::make_unique<RemoteLink>(segment, address_.host, reply.audio_port, reply.session, address_.key,
                                          reply.latency.jitter);
  }
  if (session_ != 0) reconnects_.fetch_add(1, std::memory_order_relaxed);
  bridge_->detach();  // so that an index meant for this model is not read by the one before
  const uint32_t given = given_.load(std::memory_order_acquire);
  for (size_t i = 0; i < index(Param::kCount); ++i) {
    const auto param = static_cast<Param>(i);
    if (param == Param::kPanic || param == Param::kDecoder || !(given & (1u << i))) continue;
    sent_[i] = values_[i].load(std::memory_order_relaxed);
    repeats_[i] = is_servers(param) ? kRepeats : 0;
    bridge_->set(param, sent_[i]);
  }
  set(Param::kDecoder, playing_.decoder_index);
  bridge_->set(Param::kDecoder, playing_.decoder_index);
  bridge_->attach(segment);
  remote_ = std::move(remote);  // the one before stops here
  segment_ = std::move(segment);
  session_ = reply.session;
  load_at_ns_ = 0;
  phase_ = Phase::kConnected;
  refused_live_ = false;
  announce(Link::kConnected, {});
}

// Who was refused leaves the first places at a new server to those that played.
uint64_t ControlClient::retry_ns() const noexcept { return refused_live_ ? kRefusedNs : kRetryNs; }

// [under the mutex] Refused as a live stream, wanted as a bounce since.
bool ControlClient::ask_as_bounce() const noexcept {
  return bridge_ && link() == Link::kRefused && refused_live_ && offline_.load(std::memory_order_acquire);
}

bool ControlClient::lost(uint64_t now_ns) const noexcept {
  const rt_header& h = segment_->header();
  const uint64_t beat = load_acquire(h.server_heartbeat_ns);
  return load_acquire(h.closed_by_server) != 0 || (now_ns > beat && now_ns - beat > kStaleNs);
}

void ControlClient::look_after(uint64_t now_ns) {
  bridge_->heartbeat();
  if (lost(now_ns)) {
    announce(Link::kConnecting, {});
    return begin_asking(now_ns);
  }
  if (now_ns - load_at_ns_ >= kLoadNs) {
    load_at_ns_ = now_ns;
    send(osc_->status());
  }
  if (remote_) send_parameters(now_ns);
  if (!choose_again_.exchange(false, std::memory_order_acq_rel) || !served_) return;
  Guide::Choice choice;
  std::string why_not;
  if (guide_.choose(*served_, choice, why_not) && choice.model == playing_.model)
    playing_ = std::move(choice);
  else
    begin_asking(now_ns);  // another model: what is served may have changed
}

// What all sessions of the server compute, in cores; sessions that have not begun yet have no figure.
void ControlClient::take_load(const StatusReply& reply) {
  const auto status = Json::parse(reply.json);
  if (!status) return;
  double sum = 0.0;
  for (const Json& session : (*status)["sessions"].items()) sum += session["load"].number();
  load_.store(static_cast<float>(sum), std::memory_order_relaxed);
}

void ControlClient::send_parameters(uint64_t now_ns) {
  if (now_ns - parameters_at_ns_ < kLookNs) return;
  parameters_at_ns_ = now_ns;
  const uint32_t given = given_.load(std::memory_order_acquire);
  for (size_t i = 0; i < index(Param::kCount); ++i) {
    const auto param = static_cast<Param>(i);
    if (!is_servers(param) || !(given & (1u << i))) continue;
    const double value = values_[i].load(std::memory_order_relaxed);
    if (value != sent_[i]) {
      sent_[i] = value;
      repeats_[i] = kRepeats;
    }
    if (repeats_[i] == 0) continue;
    --repeats_[i];
    send(osc_->set(session_, param, value));
  }
}

void ControlClient::rest(uint64_t now_ns, uint64_t for_ns, Link link, std::string why) {
  if (phase_ == Phase::kAsking || !socket_) {
    ++rounds_;
    served_fresh_ = false;
    ask_wanted_ = false;
  }
  phase_ = Phase::kResting;
  next_ns_ = now_ns + for_ns;
  if (bridge_)
    announce(link, std::move(why));
  else
    message_ = std::move(why);
  changed_.notify_all();
}

void ControlClient::announce(Link link, std::string why) {
  const bool news = link != this->link() || why != message_;
  message_ = std::move(why);
  link_.store(link, std::memory_order_release);
  changed_.notify_all();
  if (news) guide_.link_changed();
}

void ControlClient::send(const std::vector<uint8_t>& datagram) noexcept {
  if (socket_) socket_->send(datagram.data(), datagram.size());
}

void ControlClient::start_server(uint64_t now_ns) {
  static std::atomic<uint64_t> last_ns{0};  // of this process: every instance sees the same silence
  if (address_.server_command.empty() || !is_this_machine(address_.host)) return;
  uint64_t last = last_ns.load();
  if (last != 0 && now_ns - last < kStartAgainNs) return;
  if (last_ns.compare_exchange_strong(last, now_ns)) launch(address_.server_command);
}

}  // namespace rtbridge
