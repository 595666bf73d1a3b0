// The synchronous stages of the stream for Python: Resampler, Intake, Renderer.
#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "stream/renderer.h"
#include "stream/resampler.h"
#include "voices.h"

using namespace rtstream;

namespace {

class PyResampler {
 public:
  PyResampler(int in_rate_hz, int out_rate_hz)
      : resampler_(in_rate_hz, out_rate_hz), chunk_(resampler_.max_output(Resampler::kMaxPush)) {}

  py::array_t<float> push(const Floats& x) {
    frames_of(x, 1);
    std::vector<float> out;
    const float* data = x.data();
    for (py::ssize_t at = 0; at < x.size(); at += Resampler::kMaxPush) {
      const int n = static_cast<int>(std::min<py::ssize_t>(Resampler::kMaxPush, x.size() - at));
      const int got = resampler_.push(data + at, n, chunk_.data());
      out.insert(out.end(), chunk_.begin(), chunk_.begin() + got);
    }
    return to_array(out);
  }

  uint64_t pass_over(int frames) {
    if (frames < 0) throw py::value_error("frames: expected at least 0, found " + std::to_string(frames));
    return resampler_.pass_over(frames);
  }

  py::array_t<float> flush() {
    std::vector<float> out;
    while (const int got = resampler_.flush(chunk_.data())) out.insert(out.end(), chunk_.begin(), chunk_.begin() + got);
    resampler_.reset();
    return to_array(out);
  }

 private:
  Resampler resampler_;
  std::vector<float> chunk_;
};

class PyIntake {
 public:
  PyIntake(int rate_hz, int channels, int hop_samples, const std::string& encoding)
      : intake_(rate_hz, channels, hop_samples, encoding_of(encoding)), channels_(channels), hop_(hop_samples) {}

  void push(const Floats& x) {
    const size_t frames = frames_of(x, channels_);
    for (size_t at = 0; at < frames; at += Intake::kMaxPush) {
      const int n = static_cast<int>(std::min<size_t>(Intake::kMaxPush, frames - at));
      intake_.push(x.data() + at * static_cast<size_t>(channels_), n);
      collect();
    }
  }
  void finish(int lookahead_samples) {
    while (intake_.finish(lookahead_samples)) collect();
  }
  py::object pop_hop() {
    if (hops_.empty()) return py::none();
    py::object hop = to_array(hops_.front());
    hops_.pop_front();
    return hop;
  }

  float input_gain_db = 0.0f, gate_db = kGateOffDb;
  void apply() {
    intake_.set_input_gain_db(input_gain_db);
    intake_.set_gate_db(gate_db);
    if (!started_) intake_.reset();
  }

 private:
  void collect() {
    started_ = true;
    while (intake_.pop_hop(hop_.data())) hops_.push_back(hop_);
  }
  Intake intake_;
  int channels_;
  bool started_ = false;
  std::vector<float> hop_;
  std::deque<std::vector<float>> hops_;
};

class PyRenderer {
 public:
  PyRenderer(int rate_hz, int hop_samples, const py::object& voice, uint64_t seed, float temperature)
      : renderer_(rate_hz, hop_samples, make_voices(voice, hop_samples)) {
    renderer_.reset(seed);
    renderer_.set_temperature(temperature);
    chunk_.resize(static_cast<size_t>(std::max(renderer_.max_chunk_frames(), renderer_.max_flush_frames())));
  }
  py::array_t<float> push(const Floats& latent) {
    if (latent.size() != renderer_.latent_size())
      throw py::value_error("latent: expected " + std::to_string(renderer_.latent_size()) + " values, found " +
                            std::to_string(latent.size()));
    std::vector<float> out;
    {
      py::gil_scoped_release release;
      renderer_.begin_hop(latent.data(), 0);
      while (!renderer_.hop_done()) append(out, renderer_.render_chunk(chunk_.data()));
    }
    return to_array(out);
  }
  py::array_t<float> flush() {
    std::vector<float> out;
    while (const int got = renderer_.flush(chunk_.data())) append(out, got);
    return to_array(out);
  }
  void reset(uint64_t seed) { renderer_.reset(seed); }
  void set_temperature(float t) { renderer_.set_temperature(t); }

 private:
  static std::vector<std::unique_ptr<Voice>> make_voices(const py::object& voice, int hop_samples) {
    if (!voice.is_none()) return voices_of(voice_makers({voice}, hop_samples));
    std::vector<std::unique_ptr<Voice>> voices;
    voices.push_back(std::make_unique<IdentityVoice>(hop_samples));
    return voices;
  }
  void append(std::vector<float>& out, int n) { out.insert(out.end(), chunk_.begin(), chunk_.begin() + n); }
  Renderer renderer_;
  std::vector<float> chunk_;
};

}  // namespace

void bind_stages(py::module_& m) {
  m.def(
      "resampler_latency",
      [](int rate_hz) {
        return py::make_tuple(Resampler::half_length(rate_hz, kNetworkRateHz),
                              Resampler::half_length(kNetworkRateHz, rate_hz));
      },
      py::arg("rate_hz"));

  py::class_<PyResampler>(m, "Resampler")
      .def(py::init<int, int>(), py::arg("in_rate_hz"), py::arg("out_rate_hz"))
      .def("push", &PyResampler::push, py::arg("frames"))
      .def("pass_over", &PyResampler::pass_over, py::arg("frames"))
      .def("flush", &PyResampler::flush);

  py::class_<PyIntake>(m, "Intake")
      .def(py::init<int, int, int, const std::string&>(), py::arg("rate_hz"), py::arg("channels"),
           py::arg("hop_samples"), py::arg("encoding") = "mu_law_rounded")
      .def_property(
          "input_gain_db", [](const PyIntake& i) { return i.input_gain_db; },
          [](PyIntake& i, float db) {
            i.input_gain_db = db;
            i.apply();
          })
      .def_property(
          "gate_db", [](const PyIntake& i) { return i.gate_db; },
          [](PyIntake& i, float db) {
            i.gate_db = db;
            i.apply();
          })
      .def("push", &PyIntake::push, py::arg("frames"))
      .def("pop_hop", &PyIntake::pop_hop)
      .def("finish", &PyIntake::finish, py::arg("lookahead_samples") = 0);

  py::class_<PyRenderer>(m, "Renderer")
      .def(py::init<int, int, const py::object&, uint64_t, float>(), py::arg("rate_hz"), py::arg("hop_samples"),
           py::arg("voice").none(true), py::arg("seed") = 0, py::arg("temperature") = 1.0f)
      .def("push", &PyRenderer::push, py::arg("latent"))
      .def("flush", &PyRenderer::flush)
      .def("reset", &PyRenderer::reset, py::arg("seed"))
      .def("set_temperature", &PyRenderer::set_temperature, py::arg("temperature"));
}
