// LivePath for Python, with the addresses that PortAudio calls; and its stages, for tests.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "live/live_path.h"
#include "live/portaudio_callback.h"
#include "native_bridge.h"

using namespace rtlive;

namespace {

py::dict drift_dict(const DriftRing::Stats& s) {
  py::dict d;
  d["starved"] = s.starved;
  d["skips"] = s.skips;
  d["lost"] = s.lost;
  d["ppm"] = s.ppm;
  d["waiting"] = s.waiting;
  d["target"] = s.target;
  return d;
}

// Keeps the bridges alive and to itself while a driver may call. Closing the stream first is the caller's part.
class PyLive {
 public:
  PyLive(const LiveConfig& config, NativeBridge& bridge)
      : role_(std::make_unique<NativeBridge::AudioRole>(bridge)), path(config, bridge.bridge) {}

  bool switch_to(NativeBridge& next) {
    if (!path.settled()) return false;
    auto role = std::make_unique<NativeBridge::AudioRole>(next);
    if (!path.switch_to(next.bridge)) return false;
    before_ = std::move(role_);
    role_ = std::move(role);
    return true;
  }
  bool settled() {
    if (!path.settled()) return false;
    before_.reset();
    return true;
  }

 private:
  std::unique_ptr<NativeBridge::AudioRole> role_, before_;

 public:
  LivePath path;
};

py::array_t<float> duplex(PyLive& self, const Floats& in) {
  const auto& config = self.path.config();
  const size_t frames = frames_of(in, static_cast<int>(config.input_channels));
  py::array_t<float> out({static_cast<py::ssize_t>(frames), static_cast<py::ssize_t>(config.output_channels)});
  duplex_callback(in.data(), out.mutable_data(), frames, nullptr, 0, &self.path);
  return out;
}

void capture(PyLive& self, const Floats& in) {
  const size_t frames = frames_of(in, static_cast<int>(self.path.config().input_channels));
  if (!self.path.drift()) throw py::value_error("live: made for one device; give drift_target");
  capture_callback(in.data(), nullptr, frames, nullptr, 0, &self.path);
}

py::array_t<float> playback(PyLive& self, size_t frames) {
  if (!self.path.drift()) throw py::value_error("live: made for one device; give drift_target");
  py::array_t<float> out(
      {static_cast<py::ssize_t>(frames), static_cast<py::ssize_t>(self.path.config().output_channels)});
  playback_callback(nullptr, out.mutable_data(), frames, nullptr, 0, &self.path);
  return out;
}

// What is counted; reading it changes nothing.
py::dict counted(PyLive& self) {
  LivePath& path = self.path;
  const CallbackStats s = path.stats();
  py::dict d;
  d["calls"] = s.calls;
  d["frames"] = s.frames;
  d["input_overflows"] = s.input_overflows;
  d["input_underflows"] = s.input_underflows;
  d["output_underflows"] = s.output_underflows;
  d["output_overflows"] = s.output_overflows;
  d["last_call_ns"] = s.last_call_ns;
  d["overruns"] = s.overruns;
  d["largest_block"] = s.largest_block;
  d["device_latency_s"] = s.device_latency_s;
  d["guard_gain_db"] = path.guard.gain_db();
  d["howls"] = path.guard.howls();
  d["probes"] = path.guard.probes();
  d["take_dropped"] = path.takes.dropped();
  d["drift"] = path.drift() ? py::object(drift_dict(path.drift()->stats())) : py::object(py::none());
  return d;
}

// The same and the extremes since the last time.
py::dict stats(PyLive& self) {
  LivePath& path = self.path;
  py::dict d = counted(self);
  const auto in = path.input_meter.read(), out = path.output_meter.read();
  d["input_peak"] = in.peak;
  d["input_rms"] = in.rms;
  d["output_peak"] = out.peak;
  d["output_rms"] = out.rms;
  d["limiter_gain"] = path.limiter.read_lowest();
  d["longest_us"] = path.read_longest_us();
  return d;
}

py::array_t<float> take(PyLive& self, uint32_t most) {
  TakeRing& ring = self.path.takes;
  const uint32_t frames = std::min(most, ring.available());
  py::array_t<float> out({static_cast<py::ssize_t>(frames), static_cast<py::ssize_t>(ring.channels())});
  ring.read(out.mutable_data(), frames);
  return out;
}

py::tuple log_of(const CallLog& log) {
  const auto count = static_cast<py::ssize_t>(log.count.load(std::memory_order_acquire));
  return py::make_tuple(py::array_t<uint64_t>(count, log.ns.data()),
                        py::array_t<uint64_t>(count, log.end_frame.data()));
}

template <PaCallback* function>
uintptr_t address(const PyLive&) {
  return reinterpret_cast<uintptr_t>(function);
}

py::array_t<float> gains(FeedbackGuard& guard, size_t count) {
  py::array_t<float> out(static_cast<py::ssize_t>(count));
  for (size_t i = 0; i < count; ++i) out.mutable_data()[i] = guard.next_gain();
  return out;
}

}  // namespace

void bind_live(py::module_& m) {
  py::class_<PyLive>(m, "LivePath")
      .def(py::init([](NativeBridge& bridge, uint32_t rate_hz, uint32_t max_block, uint32_t channels,
                       uint32_t input_channels, uint32_t first_input, uint32_t output_channels, uint32_t drift_target) {
             return std::make_unique<PyLive>(
                 LiveConfig{rate_hz, max_block, channels, input_channels, first_input, output_channels, drift_target},
                 bridge);
           }),
           py::keep_alive<1, 2>(), py::arg("bridge"), py::kw_only(), py::arg("rate_hz"), py::arg("max_block"),
           py::arg("channels") = 1, py::arg("input_channels") = 1, py::arg("first_input") = 0,
           py::arg("output_channels") = 2, py::arg("drift_target") = 0)
      .def_property_readonly("duplex_address", &address<duplex_callback>)
      .def_property_readonly("capture_address", &address<capture_callback>)
      .def_property_readonly("playback_address", &address<playback_callback>)
      .def_property_readonly("user_data", [](PyLive& l) { return reinterpret_cast<uintptr_t>(&l.path); })
      .def("duplex", &duplex, py::arg("frames"))
      .def("capture", &capture, py::arg("frames"))
      .def("playback", &playback, py::arg("count"))
      .def("switch_to", &PyLive::switch_to, py::keep_alive<1, 2>(), py::arg("bridge"))
      .def_property_readonly("settled", &PyLive::settled)
      .def("panic", [](PyLive& l) { l.path.panic(); })
      .def(
          "set_drift_target", [](PyLive& l, uint32_t frames) { l.path.set_drift_target(frames); }, py::arg("frames"))
      .def("restart_drift", [](PyLive& l) { l.path.restart_drift(); })
      .def(
          "set_recording", [](PyLive& l, bool on) { l.path.set_recording(on); }, py::arg("on"))
      .def(
          "set_guard", [](PyLive& l, bool on) { l.path.guard.set_enabled(on); }, py::arg("on"))
      .def_property(
          "muted", [](const PyLive& l) { return l.path.muted(); }, [](PyLive& l, bool on) { l.path.set_muted(on); })
      .def("take", &take, py::arg("most"))
      .def(
          "last_input",
          [](const PyLive& l, size_t count) {
            py::array_t<float> out(static_cast<py::ssize_t>(count));
            l.path.tap.copy_last(out.mutable_data(), count);
            return out;
          },
          py::arg("count"))
      .def("call_log", [](const PyLive& l) { return log_of(l.path.calls); })
      .def("capture_log", [](const PyLive& l) { return log_of(l.path.captures); })
      .def("counted", &counted)
      .def("stats", &stats);

  py::class_<FeedbackGuard>(m, "FeedbackGuard")
      .def(py::init<uint32_t>(), py::arg("rate_hz"))
      .def(
          "heard",
          [](FeedbackGuard& g, const Floats& in) { g.heard(in.data(), static_cast<uint32_t>(frames_of(in, 1))); },
          py::arg("frames"))
      .def("gains", &gains, py::arg("count"))
      .def(
          "played",
          [](FeedbackGuard& g, const Floats& out) {
            for (py::ssize_t i = 0; i < out.size(); ++i) g.played(out.data()[i], false);
          },
          py::arg("frames"))
      .def("set_enabled", &FeedbackGuard::set_enabled, py::arg("on"))
      .def_property_readonly("howls", &FeedbackGuard::howls)
      .def_property_readonly("probes", &FeedbackGuard::probes)
      .def_property_readonly("gain_db", &FeedbackGuard::gain_db);

  py::class_<DriftRing>(m, "DriftRing")
      .def(py::init<uint32_t, uint32_t, uint32_t>(), py::arg("channels"), py::arg("rate_hz"), py::arg("target"))
      .def(
          "push",
          [](DriftRing& r, const Floats& x, uint64_t now_ns) {
            r.push(x.data(), static_cast<uint32_t>(x.shape(0)), now_ns);
          },
          py::arg("frames"), py::arg("now_ns"))
      .def(
          "pull",
          [](DriftRing& r, uint32_t count, uint64_t now_ns, uint32_t channels) {
            py::array_t<float> out({static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(channels)});
            r.pull(out.mutable_data(), count, now_ns);
            return out;
          },
          py::arg("count"), py::arg("now_ns"), py::arg("channels") = 1)
      .def("stats", [](const DriftRing& r) { return drift_dict(r.stats()); });

  m.def(
      "limit",
      [](const Floats& frames, uint32_t rate_hz) {
        py::array_t<float> out(frames.size());
        std::copy_n(frames.data(), frames.size(), out.mutable_data());
        Limiter(rate_hz).process(out.mutable_data(), static_cast<uint32_t>(out.size()), 1);
        return out;
      },
      py::arg("frames"), py::arg("rate_hz"));
}
