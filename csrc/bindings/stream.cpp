// Segment, Worker, Bridge and BlockDriver for Python.
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "native_bridge.h"
#include "rtbridge/atomics.h"
#include "rtbridge/bridge.h"
#include "rtbridge/segment.h"
#include "stream/block_driver.h"
#include "stream/worker.h"
#include "voices.h"

using namespace rtstream;
using rtbridge::Bridge;
using rtbridge::Param;
using rtbridge::RingView;
using rtbridge::Segment;

namespace {

// --- segment ---

rt_latency latency_of(const py::dict& parts) {
  const auto field = [&](const char* name) { return parts[name].cast<uint32_t>(); };
  return {field("block"),  field("resampling"), field("lookahead"), field("hop"),
          field("margin"), field("jitter"),     field("reported"),  field("fade")};
}

py::dict latency_dict(const rt_latency& l) {
  py::dict d;
  d["block"] = l.block;
  d["resampling"] = l.resampling;
  d["lookahead"] = l.lookahead;
  d["hop"] = l.hop;
  d["margin"] = l.margin;
  d["jitter"] = l.jitter;
  d["reported"] = l.reported;
  d["fade"] = l.fade;
  return d;
}

std::shared_ptr<Segment> create_segment(const std::optional<std::string>& name, uint64_t session, uint32_t generation,
                                        uint32_t sample_rate_hz, uint32_t max_block_frames, uint32_t channels,
                                        const py::dict& latency, uint32_t ring_frames, const std::string& transport) {
  if (transport != "shm" && transport != "remote")
    throw py::value_error("transport: expected shm or remote, found " + transport);
  rtbridge::Geometry g;
  g.session = session;
  g.generation = generation;
  g.sample_rate_hz = sample_rate_hz;
  g.max_block_frames = max_block_frames;
  g.channels = channels;
  g.ring_frames = ring_frames;
  g.transport = transport == "shm" ? RT_TRANSPORT_SHM : RT_TRANSPORT_REMOTE;
  g.latency = latency_of(latency);
  return Segment::create(name.value_or(""), g);
}

// X(field): every scalar of the header, for describe() and for the table of offsets that the tests check.
// clang-format off
#define RT_HEADER_FIELDS(X) \
  X(magic) X(version) X(header_bytes) X(generation) X(session) X(server_pid) X(sample_rate_hz) X(max_block_frames) \
  X(channels) X(ring_frames) X(input_ring_offset) X(output_ring_offset) X(total_bytes) X(transport) X(client_pid) \
  X(offline) X(closed_by_client) X(epoch_requested) X(epoch_live) X(epoch_start_frame) X(client_heartbeat_ns) \
  X(blocks_submitted) X(input_write_frame) X(output_read_frame) X(server_wake) X(server_waiting) \
  X(closed_by_server) X(epoch_ready) X(epoch_running) X(server_heartbeat_ns) X(input_read_frame) \
  X(output_write_frame) X(client_wake) X(client_waiting) X(encoded_frame) X(mix) X(output_gain_db) X(input_gain_db) \
  X(gate_db) X(temperature) X(bypass) X(fallback) X(decoder) X(seed) X(panic) X(blocks) X(misses) X(hops) \
  X(encoder_ns) X(decoder_ns) X(packets_lost) X(packets_late) X(packets_refused) X(frames_concealed)
// clang-format on

py::list misses_list(const uint64_t* counts) {
  py::list l;
  for (size_t i = 0; i < RT_MISS_CAUSES; ++i) l.append(counts[i]);
  return l;
}

py::dict describe(const Segment& s) {
  const rt_header& h = s.header();
  py::dict d;
#define X(field) d[#field] = rtbridge::load_acquire(h.field);
  RT_HEADER_FIELDS(X)
#undef X
  d["latency"] = latency_dict(s.geometry().latency);
  d["misses_by_cause"] = misses_list(h.misses_by_cause);
  return d;
}

py::object header_field(const Segment& s, const std::string& name) {
  const rt_header& h = s.header();
#define X(field) \
  if (name == #field) return py::cast(rtbridge::load_acquire(h.field));
  RT_HEADER_FIELDS(X)
#undef X
  throw py::attribute_error("Segment has no field " + name);
}

void set_header_field(Segment& s, const std::string& name, const py::object& value) {
  rt_header& h = s.header();
#define X(field)                                                       \
  if (name == #field) {                                                \
    rtbridge::store_release(h.field, value.cast<decltype(h.field)>()); \
    return;                                                            \
  }
  RT_HEADER_FIELDS(X)
#undef X
  throw py::attribute_error("Segment has no field " + name);
}

py::dict layout() {
  py::dict d;
#define X(field) d[#field] = py::make_tuple(offsetof(rt_header, field), sizeof(rt_header::field));
  RT_HEADER_FIELDS(X)
#undef X
  d["latency"] = py::make_tuple(offsetof(rt_header, latency), sizeof(rt_latency));
  d["misses_by_cause"] = py::make_tuple(offsetof(rt_header, misses_by_cause), sizeof(rt_header::misses_by_cause));
  d["stamps"] = py::make_tuple(offsetof(rt_header, stamps), sizeof(rt_header::stamps));
  return d;
}

// For meters, by somebody who is neither side of the ring: what is copied may be written over meanwhile only if the
// writer gets through half of the ring in that time, and then it is given up.
py::array_t<float> recent_frames(const Segment& s, const std::string& ring, uint32_t frames) {
  const bool input = ring == "input";
  if (!input && ring != "output") throw py::value_error("ring: expected input or output, found " + ring);
  const rt_header& h = s.header();
  const auto& written = input ? h.input_write_frame : h.output_write_frame;
  const RingView view = input ? s.input() : s.output();
  const uint32_t live = rtbridge::load_acquire(h.epoch_live);
  const uint64_t start = rtbridge::load_acquire(h.epoch_start_frame);
  const uint64_t end = rtbridge::load_acquire(written);
  const bool running = live != 0 && (input || rtbridge::load_acquire(h.epoch_running) == live) && end >= start;
  const uint64_t there = running ? std::min<uint64_t>({frames, end - start, view.ring_frames() / 2}) : 0;
  const auto channels = static_cast<py::ssize_t>(s.geometry().channels);
  py::array_t<float> out(std::vector<py::ssize_t>{static_cast<py::ssize_t>(there), channels});
  view.read(end - there, out.mutable_data(), static_cast<uint32_t>(there));
  const uint64_t now = rtbridge::load_acquire(written);
  if (now < end || now - end > view.ring_frames() / 2) return py::array_t<float>(std::vector<py::ssize_t>{0, channels});
  return out;
}

// --- worker ---

const char* const kCauses[RT_MISS_CAUSES] = {"starting", "host",    "intake",  "encoder",
                                             "decoder",  "network", "overrun", "server"};

py::dict causes_dict(const uint64_t* counts) {
  py::dict d;
  for (size_t i = 0; i < RT_MISS_CAUSES; ++i) d[kCauses[i]] = counts[i];
  return d;
}

void open_session(Worker& worker, int session, std::shared_ptr<Segment> segment, const std::string& kind,
                  int hop_samples, int lookahead_samples, const std::string& encoding,
                  const std::vector<py::object>& voices, uint64_t seed, int render_thread) {
  SessionConfig config;
  config.id = session;
  if (kind == "loopback")
    config.kind = Kind::kLoopback;
  else if (kind == "identity16k")
    config.kind = Kind::kIdentity16k;
  else if (kind == "model")
    config.kind = Kind::kModel;
  else
    throw py::value_error("kind: expected loopback, identity16k or model, found " + kind);
  config.hop_samples = hop_samples;
  config.lookahead_samples = lookahead_samples;
  config.encoding = encoding_of(encoding);
  config.seed = seed;
  config.render_thread = render_thread;
  const auto makers = config.kind == Kind::kModel ? voice_makers(voices, hop_samples) : std::vector<VoiceMaker>{};
  py::gil_scoped_release release;
  auto made = voices_of(makers);
  worker.open_session(config, std::move(segment), std::move(made));
}

py::object wait_hop(Worker& worker, int timeout_ms) {
  int session = 0;
  HopTag tag;
  std::vector<float> hop;
  bool got;
  {
    py::gil_scoped_release release;
    got = worker.wait_hop(static_cast<uint64_t>(std::max(timeout_ms, 0)) * 1'000'000, &session, &tag, &hop);
  }
  if (!got) return py::none();
  return py::make_tuple(session, tag.epoch, tag.hop_index, to_array(hop));
}

bool push_latent(Worker& worker, int session, uint32_t epoch, const Floats& latent) {
  const int expected = worker.latent_size(session);
  if (expected < 0) return false;
  if (latent.size() != expected)
    throw py::value_error("latent: expected " + std::to_string(expected) + " values, found " +
                          std::to_string(latent.size()));
  return worker.push_latent(session, epoch, latent.data());
}

py::dict session_stats(const Worker& worker, int session) {
  SessionStats s;
  if (!worker.stats(session, &s)) throw py::key_error("session " + std::to_string(session));
  py::dict d;
  d["client_pid"] = s.client_pid;
  d["client_alive"] = s.client_alive;
  d["closed_by_client"] = s.closed_by_client;
  d["client_heartbeat_age_ms"] = s.heartbeat_age_ms < 0 ? py::object(py::none()) : py::cast(s.heartbeat_age_ms);
  d["epoch"] = s.epoch;
  d["generation"] = s.generation;
  d["hops"] = s.hops;
  d["encoder_ns"] = s.encoder_ns;
  d["decoder_ns"] = s.decoder_ns;
  d["blocks"] = s.blocks;
  d["misses"] = s.misses;
  d["misses_by_cause"] = causes_dict(s.misses_by_cause);
  return d;
}

py::list ensembles_list(const Worker& worker) {
  py::list all;
  for (const EnsembleStats& stats : worker.ensembles()) {
    py::dict d;
    d["core"] = stats.core < 0 ? py::object(py::none()) : py::cast(stats.core);
    d["bounces"] = stats.bounces;
    d["sessions"] = stats.players;
    d["batches"] = stats.batches;
    d["chunks"] = stats.chunks;
    d["busy_ns"] = stats.busy_ns;
    all.append(d);
  }
  return all;
}

// --- bridge ---

const std::vector<std::pair<std::string, Param>> kParams = {
    {"mix", Param::kMix},
    {"output_gain_db", Param::kOutputGainDb},
    {"input_gain_db", Param::kInputGainDb},
    {"gate_db", Param::kGateDb},
    {"temperature", Param::kTemperature},
    {"bypass", Param::kBypass},
    {"fallback", Param::kFallback},
    {"decoder", Param::kDecoder},
    {"seed", Param::kSeed},
    {"panic", Param::kPanic},
};

Param param_of(const std::string& name) {
  for (const auto& [known, param] : kParams)
    if (known == name) return param;
  throw py::key_error(name);
}

// The control side may be called from several Python threads (a reconnecting one among them): a lock of its own, that
// process() never takes.
class PyBridge : public NativeBridge {
 public:
  PyBridge(int rate_hz, int max_block_frames, int channels, int latency_frames, int fade_frames)
      : NativeBridge({static_cast<uint32_t>(rate_hz), static_cast<uint32_t>(max_block_frames),
                      static_cast<uint32_t>(channels), static_cast<uint32_t>(latency_frames),
                      static_cast<uint32_t>(fade_frames)}),
        channels_(channels) {}

  void attach(std::shared_ptr<Segment> segment) {
    const std::lock_guard lock(control_);
    bridge.attach(std::move(segment));
  }
  void detach() {
    const std::lock_guard lock(control_);
    bridge.detach();
  }
  void heartbeat() {
    const std::lock_guard lock(control_);
    bridge.heartbeat();
  }
  bool server_alive() {
    const std::lock_guard lock(control_);
    return bridge.server_alive();
  }
  std::shared_ptr<Segment> segment() {
    const std::lock_guard lock(control_);
    return bridge.segment();
  }
  void set(const std::string& name, double value) {
    const std::lock_guard lock(control_);
    if (!bridge.set(param_of(name), value)) throw py::value_error(name + ": expected a number, found nan");
  }
  double get(const std::string& name) {
    const std::lock_guard lock(control_);
    return bridge.get(param_of(name));
  }
  bool wait_ready(int timeout_ms) {
    const AudioRole role(*this);
    py::gil_scoped_release release;
    return bridge.wait_ready(static_cast<uint64_t>(std::max(timeout_ms, 0)) * 1'000'000);
  }
  py::array_t<float> process(const Floats& block) {
    const size_t frames = frames_of(block, channels_);
    const AudioRole role(*this);
    py::array_t<float> out(std::vector<py::ssize_t>(block.shape(), block.shape() + block.ndim()));
    rtbridge::Status status;
    const float* in = block.data();
    float* target = out.mutable_data();
    if (bridge.offline()) {
      py::gil_scoped_release release;
      status = bridge.process(in, target, static_cast<uint32_t>(frames));
    } else {
      // Some microseconds: getting the GIL back could take longer than the block.
      status = bridge.process(in, target, static_cast<uint32_t>(frames));
    }
    if (status == rtbridge::Status::kServerGone)
      throw std::runtime_error(
          "offline: the server is gone, was changed or did not answer in time; nothing was spliced in, start the "
          "bounce "
          "again");
    return out;
  }
  void reset() {
    const AudioRole role(*this);
    bridge.reset();
  }
  py::dict stats() const {
    const rtbridge::BridgeStats s = bridge.stats();
    py::dict d;
    d["blocks"] = s.blocks;
    d["misses"] = s.misses;
    d["misses_by_cause"] = causes_dict(s.misses_by_cause);
    d["epochs"] = s.epochs;
    d["frames"] = s.frames;
    return d;
  }
  py::dict params() {
    py::dict d;
    for (const auto& [name, param] : kParams) d[name.c_str()] = get(name);
    return d;
  }

 private:
  int channels_;
  std::mutex control_;
};

// --- driver ---

template <class T, class Get>
auto column(const std::vector<T>& rows, Get get) {
  using Value = decltype(get(rows.front()));
  py::array_t<Value> out(static_cast<py::ssize_t>(rows.size()));
  for (size_t i = 0; i < rows.size(); ++i) out.mutable_data()[i] = get(rows[i]);
  return out;
}

py::dict drive(PyBridge& self, const Floats& input, const py::object& blocks, int rate_hz, bool realtime) {
  const auto& config = self.bridge.config();
  if (static_cast<uint32_t>(rate_hz) != config.sample_rate_hz)
    throw py::value_error("rate_hz: the bridge runs at " + std::to_string(config.sample_rate_hz) + ", found " +
                          std::to_string(rate_hz));
  const size_t frames = frames_of(input, static_cast<int>(config.channels));
  const auto sizes = py::isinstance<py::int_>(blocks) ? std::vector<uint32_t>{blocks.cast<uint32_t>()}
                                                      : blocks.cast<std::vector<uint32_t>>();
  py::array_t<float> output(std::vector<py::ssize_t>(input.shape(), input.shape() + input.ndim()));
  const float* in = input.data();
  float* out = output.mutable_data();
  std::fill_n(out, output.size(), 0.0f);

  const PyBridge::AudioRole role(self);
  BlockDriver driver(self.bridge, realtime);
  bool interrupted = false;
  DriverResult result;
  {
    py::gil_scoped_release release;
    auto running = std::async(std::launch::async, [&] { return driver.run(in, out, frames, sizes); });
    while (running.wait_for(std::chrono::milliseconds(200)) != std::future_status::ready) {
      py::gil_scoped_acquire acquire;
      if (PyErr_CheckSignals() == 0) continue;
      interrupted = true;
      break;
    }
    if (interrupted) driver.cancel();
    result = running.get();
  }
  if (interrupted) throw py::error_already_set();
  py::list causes;
  for (const auto& miss : result.misses) causes.append(kCauses[miss.cause]);
  py::dict d;
  d["output"] = output;
  d["round_trip_us"] = to_array(result.round_trip_us);
  d["lateness_us"] = to_array(result.lateness_us);
  d["process_us"] = to_array(result.process_us);
  d["miss_times_ns"] = column(result.misses, [](const rtbridge::MissEvent& m) { return m.ns; });
  d["miss_frames"] = column(result.misses, [](const rtbridge::MissEvent& m) { return m.frame; });
  d["miss_causes"] = causes;
  d["machine_stall_times_ns"] = column(result.stalls, [](const Stall& s) { return s.ns; });
  d["machine_stalls_ns"] = column(result.stalls, [](const Stall& s) { return s.stall_ns; });
  d["machine_stall_cores"] = column(result.stalls, [](const Stall& s) { return s.core; });
  d["start_ns"] = result.start_ns;
  d["end_ns"] = result.end_ns;
  d["realtime_granted"] = result.realtime_granted;
  return d;
}

}  // namespace

void bind_stream(py::module_& m) {
  m.attr("MISS_CAUSES") = std::vector<std::string>(kCauses, kCauses + RT_MISS_CAUSES);
  m.def("monotonic_ns", &rtbridge::monotonic_ns);
  py::class_<Segment, std::shared_ptr<Segment>>(m, "Segment")
      .def_static("create", &create_segment, py::arg("name").none(true), py::kw_only(), py::arg("session") = 0,
                  py::arg("generation") = 1, py::arg("sample_rate_hz"), py::arg("max_block_frames"),
                  py::arg("channels"), py::arg("latency"), py::arg("ring_frames") = 0, py::arg("transport") = "shm")
      .def_static("open", &Segment::open, py::arg("name"))
      .def_static("name_for", &Segment::name_for, py::arg("server_pid"), py::arg("session"), py::arg("generation"))
      .def_static("sweep_stale", &Segment::sweep_stale)
      .def_static("unlink_name", &Segment::unlink_name, py::arg("name"))
      .def_static("layout", &layout)
      .def("unlink", &Segment::unlink)
      .def_property_readonly("name", &Segment::name)
      .def_property_readonly("latency", [](const Segment& s) { return latency_dict(s.geometry().latency); })
      .def("describe", &describe)
      .def("get", &header_field, py::arg("field"))
      .def("set", &set_header_field, py::arg("field"), py::arg("value"))
      .def("recent", &recent_frames, py::arg("ring"), py::arg("frames"))
      .def("header_bytes",
           [](const Segment& s) { return py::bytes(reinterpret_cast<const char*>(&s.header()), sizeof(rt_header)); });

  py::class_<Worker>(m, "Worker")
      .def(py::init<bool>(), py::arg("realtime") = true)
      .def_property_readonly("realtime_granted", &Worker::realtime_granted)
      .def("open_session", &open_session, py::arg("session"), py::arg("segment"), py::arg("kind"),
           py::arg("hop_samples") = 160, py::arg("lookahead_samples") = 0, py::arg("encoding") = "mu_law_rounded",
           py::arg("voices") = std::vector<py::object>{}, py::arg("seed") = 0, py::arg("render_thread") = -1)
      .def("wait_hop", &wait_hop, py::arg("timeout_ms"))
      .def("push_latent", &push_latent, py::arg("session"), py::arg("epoch"), py::arg("latent"))
      .def("close_session", &Worker::close_session, py::arg("session"), py::call_guard<py::gil_scoped_release>())
      .def("sessions", &Worker::sessions)
      .def("stats", &session_stats, py::arg("session"))
      .def("ensembles", &ensembles_list)
      .def("stop", &Worker::stop, py::call_guard<py::gil_scoped_release>());

  py::class_<NativeBridge>(m, "NativeBridge");
  py::class_<PyBridge, NativeBridge>(m, "Bridge")
      .def(py::init<int, int, int, int, int>(), py::arg("rate_hz"), py::arg("max_block_frames"), py::arg("channels"),
           py::arg("latency_frames"), py::arg("fade_frames"))
      .def("attach", &PyBridge::attach, py::arg("segment"))
      .def("detach", &PyBridge::detach)
      .def("heartbeat", &PyBridge::heartbeat)
      .def("wait_ready", &PyBridge::wait_ready, py::arg("timeout_ms"))
      .def("process", &PyBridge::process, py::arg("block"))
      .def("reset", &PyBridge::reset)
      .def("set", &PyBridge::set, py::arg("name"), py::arg("value"))
      .def("get", &PyBridge::get, py::arg("name"))
      .def("params", &PyBridge::params)
      .def("stats", &PyBridge::stats)
      .def_property_readonly("server_alive", &PyBridge::server_alive)
      .def_property_readonly("segment", &PyBridge::segment)
      .def_property_readonly("latency_frames", [](const PyBridge& b) { return b.bridge.config().latency_frames; })
      .def_property(
          "offline", [](const PyBridge& b) { return b.bridge.offline(); },
          [](PyBridge& b, bool on) { b.bridge.set_offline(on); })
      .def_property(
          "offline_deadline_ms", [](const PyBridge& b) { return b.bridge.offline_deadline_ms(); },
          [](PyBridge& b, uint32_t ms) { b.bridge.set_offline_deadline_ms(ms); });

  struct DriverTag {
    bool realtime;
  };
  py::class_<DriverTag>(m, "BlockDriver")
      .def(py::init([](bool realtime) { return DriverTag{realtime}; }), py::arg("realtime") = true)
      .def(
          "run",
          [](const DriverTag& driver, PyBridge& bridge, const Floats& input, const py::object& blocks, int rate_hz) {
            return drive(bridge, input, blocks, rate_hz, driver.realtime);
          },
          py::arg("bridge"), py::arg("input"), py::arg("blocks"), py::arg("rate_hz"));
}
