// Slots and teacher-forced runs for Python: the same for either engine. The GIL is released wherever samples are
// computed.
//
// An Engine has the types Decoder (const where it may be) and Slot, most_together(decoder), and
// generate_together(slots, codes, count, n), which throws when the device has failed.
#pragma once
#include <pybind11/numpy.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cpu/decoder_config.h"
#include "require.h"

namespace py = pybind11;

// What a teacher-forced run takes, checked.
struct TeacherForcing {
  TeacherForcing(const rtengine::DecoderConfig& config, const py::object& latents, const py::object& codes)
      : l(require<float>("latents", latents, 2, "float32 [H, L]")),
        c(require<std::uint8_t>("codes", codes, 1, "uint8 [T]")),
        samples(c.shape(0)) {
    if (l.shape(1) != config.latent_channels)
      throw py::value_error("latents: expected float32 [H, " + std::to_string(config.latent_channels) + "], found " +
                            describe_array(l));
    const py::ssize_t hops = l.shape(0);
    if (samples > hops * config.hop_samples)
      throw py::value_error("codes: expected at most " + std::to_string(hops * config.hop_samples) + " samples for " +
                            std::to_string(hops) + " latents, found " + std::to_string(samples));
  }

  py::array l, c;
  py::ssize_t samples;
};

// run(latents, codes, samples, out) without the interpreter; out [rows, columns].
template <class Run>
py::array_t<float> teacher_forced(const TeacherForcing& given, py::ssize_t rows, py::ssize_t columns, const Run& run) {
  py::array_t<float> out({rows, columns});
  float* data = out.mutable_data();
  const float* latents = static_cast<const float*>(given.l.data());
  const auto* codes = static_cast<const std::uint8_t*>(given.c.data());
  py::gil_scoped_release release;
  run(latents, codes, given.samples, data);
  return out;
}

// A slot and the flag that refuses two threads at once: they would mix two streams up.
template <class Engine>
class PySlot {
 public:
  using Decoder = typename Engine::Decoder;

  PySlot(std::shared_ptr<Decoder> decoder, std::uint64_t seed, float temperature) : slot_(std::move(decoder), seed) {
    set_temperature(temperature);
  }

  void reset(std::uint64_t seed) {
    const Use use(busy_);
    slot_.reset(seed);
  }

  float temperature() const { return slot_.temperature(); }
  void set_temperature(float temperature) {
    if (!(temperature >= 0.0f && temperature <= 100.0f))
      throw py::value_error("temperature: expected a number from 0 to 100, found " + std::to_string(temperature));
    slot_.set_temperature(temperature);
  }

  std::uint64_t position() const { return slot_.position(); }

  // slots: one a stream; latents [N, H, L]; gives codes [N, H * hop].
  static py::array_t<std::uint8_t> generate_together(const std::vector<PySlot*>& slots, const py::object& latents) {
    const py::array l = require<float>("latents", latents, 3, "float32 [N, H, L]");
    const auto count = static_cast<py::ssize_t>(slots.size());
    const int most = slots.empty() ? 1 : Engine::most_together(slots[0]->slot_.decoder());
    if (count < 1 || count > most || l.shape(0) != count)
      throw py::value_error("slots: expected 1 to " + std::to_string(most) + ", with latents for each, found " +
                            std::to_string(count) + " and " + describe_array(l));
    for (const PySlot* slot : slots)
      if (&slot->slot_.decoder() != &slots[0]->slot_.decoder())
        throw py::value_error("slots: expected slots of one decoder");
    py::array_t<std::uint8_t> codes({count, l.shape(1) * slots[0]->hop_samples()});
    play(slots, l, l.shape(1), l.shape(2), codes.mutable_data());
    return codes;
  }

  py::array_t<std::uint8_t> generate(const py::object& latents) {
    const py::array l = require<float>("latents", latents, 2, "float32 [H, L]");
    py::array_t<std::uint8_t> codes(l.shape(0) * hop_samples());
    play({this}, l, l.shape(0), l.shape(1), codes.mutable_data());
    return codes;
  }

 private:
  struct Use {
    explicit Use(std::atomic<bool>& busy) : busy(busy) {
      if (busy.exchange(true, std::memory_order_acquire))
        throw std::runtime_error("slot: expected one thread at a time, found it in use by another");
    }
    ~Use() { busy.store(false, std::memory_order_release); }
    std::atomic<bool>& busy;
  };

  int hop_samples() const { return slot_.decoder().config().hop_samples; }

  static void play(const std::vector<PySlot*>& slots, const py::array& latents, py::ssize_t hops, py::ssize_t channels,
                   std::uint8_t* codes) {
    const rtengine::DecoderConfig& config = slots[0]->slot_.decoder().config();
    if (channels != config.latent_channels)
      throw py::value_error("latents: expected " + std::to_string(config.latent_channels) + " channels, found " +
                            describe_array(latents));
    std::vector<std::unique_ptr<Use> > uses;
    std::vector<typename Engine::Slot*> engine_slots;
    for (PySlot* slot : slots) {
      uses.push_back(std::make_unique<Use>(slot->busy_));
      engine_slots.push_back(&slot->slot_);
    }
    const float* latent = static_cast<const float*>(latents.data());
    const std::ptrdiff_t samples = hops * config.hop_samples;
    py::gil_scoped_release release;
    std::vector<std::uint8_t*> places(slots.size());
    for (py::ssize_t hop = 0; hop < hops; ++hop) {
      for (std::size_t k = 0; k < slots.size(); ++k) {
        engine_slots[k]->begin_hop(latent + (static_cast<std::ptrdiff_t>(k) * hops + hop) * channels);
        places[k] = codes + static_cast<std::ptrdiff_t>(k) * samples + hop * config.hop_samples;
      }
      Engine::generate_together(engine_slots.data(), places.data(), static_cast<int>(slots.size()), config.hop_samples);
    }
  }

  typename Engine::Slot slot_;
  std::atomic<bool> busy_{false};
};

template <class Engine>
void bind_slot(py::module_& m, const char* name, const char* together) {
  using Slot = PySlot<Engine>;
  py::class_<Slot>(m, name)
      .def("reset", &Slot::reset, py::arg("seed"))
      .def("generate", &Slot::generate, py::arg("latents"))
      .def_property("temperature", &Slot::temperature, &Slot::set_temperature)
      .def_property_readonly("position", &Slot::position);
  m.def(together, &Slot::generate_together, py::arg("slots"), py::arg("latents"));
}

// open_slot, and the sizes of the network.
template <class Engine, class... Bound>
py::class_<Bound...>& bind_decoding(py::class_<Bound...>& decoder) {
  using Decoder = typename Engine::Decoder;
  return decoder
      .def(
          "open_slot",
          [](std::shared_ptr<Decoder> self, std::uint64_t seed, float temperature) {
            return std::make_unique<PySlot<Engine> >(std::move(self), seed, temperature);
          },
          py::arg("seed") = 0, py::arg("temperature") = 1.0f)
      .def_property_readonly("layers", [](const Decoder& d) { return d.config().total_layers(); })
      .def_property_readonly("residual_channels", [](const Decoder& d) { return d.config().residual_channels; })
      .def_property_readonly("skip_channels", [](const Decoder& d) { return d.config().skip_channels; })
      .def_property_readonly("latent_channels", [](const Decoder& d) { return d.config().latent_channels; })
      .def_property_readonly("hop_samples", [](const Decoder& d) { return d.config().hop_samples; });
}
