// Decoder and Slot for Python. The GIL is released wherever samples are computed.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "cpu/decoder.h"
#include "cpu/philox.h"
#include "cpu/roofline.h"
#include "decoder_arguments.h"
#include "require.h"

namespace py = pybind11;

using rtengine::Decoder;
using rtengine::DecoderConfig;

DecoderConfig read_decoder_config(const py::dict& values) {
  DecoderConfig config;
  const std::vector<std::pair<const char*, int*>> fields = {
      {"blocks", &config.blocks},
      {"layers", &config.layers},
      {"residual_channels", &config.residual_channels},
      {"skip_channels", &config.skip_channels},
      {"kernel_size", &config.kernel_size},
      {"classes", &config.classes},
      {"latent_channels", &config.latent_channels},
      {"hop_samples", &config.hop_samples},
  };
  std::size_t known = 0;
  for (const auto& [name, field] : fields) {
    if (!values.contains(name))
      throw py::value_error(std::string("decoder config: expected an integer ") + name + ", found none");
    const py::object value = values[name];
    try {
      *field = value.cast<int>();
    } catch (const py::cast_error&) {
      throw py::value_error(std::string("decoder config: expected an integer ") + name + ", found " +
                            py::repr(value).cast<std::string>());
    }
    ++known;
  }
  if (values.contains("mu_law")) {
    const py::object value = values["mu_law"];
    if (!py::isinstance<py::str>(value))
      throw py::value_error("decoder config: expected a string mu_law, found " + py::repr(value).cast<std::string>());
    config.mu_law = value.cast<std::string>();
    ++known;
  }
  if (known != values.size())
    throw py::value_error("decoder config: found unknown fields in " +
                          py::repr(values.attr("keys")()).cast<std::string>());
  return config;
}

namespace {

// Array [layers, ...] `name` of the codes of a decoder.
template <class T>
std::vector<T> code_array(const py::dict& codes, const char* name, int dimensions, const char* expected) {
  if (!codes.contains(name))
    throw py::value_error(std::string("codes: expected ") + name + " " + expected + ", found none");
  const py::array array = require<T>(("codes: " + std::string(name)).c_str(), codes[name], dimensions, expected);
  const T* data = static_cast<const T*>(array.data());
  return {data, data + array.size()};
}

rtengine::Codes read_codes(const py::dict& codes) {
  return {code_array<std::int8_t>(codes, "now", 3, "int8 [layers, 2R, R]"),
          code_array<std::int8_t>(codes, "residual", 3, "int8 [layers, R, R]"),
          code_array<std::int8_t>(codes, "skip", 3, "int8 [layers, S, R]"),
          code_array<float>(codes, "now_scale", 2, "float32 [layers, 2R]"),
          code_array<float>(codes, "residual_scale", 2, "float32 [layers, R]"),
          code_array<float>(codes, "skip_scale", 2, "float32 [layers, S]")};
}

std::shared_ptr<Decoder> make_decoder(const py::dict& config, const py::dict& weights, const std::string& isa,
                                      const std::string& precision, const py::object& calibration,
                                      const std::optional<py::dict>& codes) {
  const DecoderConfig checked = read_decoder_config(config);
  std::vector<float> ranges;
  if (!calibration.is_none()) {
    const py::array array = require<float>("calibration", calibration, 2, "float32 [layers, R]");
    if (array.shape(0) != checked.total_layers() || array.shape(1) != checked.residual_channels)
      throw py::value_error("calibration: expected float32 [" + std::to_string(checked.total_layers()) + ", " +
                            std::to_string(checked.residual_channels) + "], found " + describe_array(array));
    const float* data = static_cast<const float*>(array.data());
    ranges.assign(data, data + array.size());
  }
  const DecoderTensors tensors(weights);
  std::optional<rtengine::Codes> read;
  if (codes) read = read_codes(*codes);
  py::gil_scoped_release release;
  return std::make_shared<Decoder>(checked, tensors.views, isa, precision, ranges, read ? &*read : nullptr);
}

// latents [H, L]; gives H.
py::ssize_t check_latents(const py::array& latents, const DecoderConfig& config) {
  if (latents.shape(1) != config.latent_channels)
    throw py::value_error("latents: expected float32 [H, " + std::to_string(config.latent_channels) + "], found " +
                          describe_array(latents));
  return latents.shape(0);
}

// What a teacher-forced run takes, checked.
struct TeacherForcing {
  TeacherForcing(const Decoder& decoder, const py::object& latents, const py::object& codes)
      : l(require<float>("latents", latents, 2, "float32 [H, L]")),
        c(require<std::uint8_t>("codes", codes, 1, "uint8 [T]")),
        samples(c.shape(0)) {
    const py::ssize_t hops = check_latents(l, decoder.config());
    if (samples > hops * decoder.config().hop_samples)
      throw py::value_error("codes: expected at most " + std::to_string(hops * decoder.config().hop_samples) +
                            " samples for " + std::to_string(hops) + " latents, found " + std::to_string(samples));
  }
  const float* latents() const { return static_cast<const float*>(l.data()); }
  const std::uint8_t* codes() const { return static_cast<const std::uint8_t*>(c.data()); }

  py::array l, c;
  py::ssize_t samples;
};

// run(latents, codes, samples, out) without the interpreter; out [rows, columns].
template <class Run>
py::array_t<float> teacher_forced(const TeacherForcing& given, py::ssize_t rows, py::ssize_t columns, const Run& run) {
  py::array_t<float> out({rows, columns});
  float* data = out.mutable_data();
  const float* latents = given.latents();
  const std::uint8_t* codes = given.codes();
  py::gil_scoped_release release;
  run(latents, codes, given.samples, data);
  return out;
}

py::array_t<float> teacher_forced_logits(const Decoder& decoder, const py::object& latents, const py::object& codes) {
  const TeacherForcing given(decoder, latents, codes);
  return teacher_forced(given, given.samples, rtengine::kClasses,
                        [&](auto... arguments) { decoder.logits(arguments...); });
}

py::array_t<float> input_ranges(const Decoder& decoder, const py::object& latents, const py::object& codes) {
  const DecoderConfig& config = decoder.config();
  return teacher_forced(TeacherForcing(decoder, latents, codes), config.total_layers(), config.residual_channels,
                        [&](auto... arguments) { decoder.input_ranges(arguments...); });
}

// A Slot and the flag that refuses two threads at once: they would mix two streams up.
class PySlot {
 public:
  PySlot(std::shared_ptr<const Decoder> decoder, std::uint64_t seed, float temperature)
      : slot_(std::move(decoder), seed) {
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
    const py::ssize_t count = static_cast<py::ssize_t>(slots.size());
    if (count < 1 || count > rtengine::kMostTogether || l.shape(0) != count)
      throw py::value_error("slots: expected 1 to " + std::to_string(rtengine::kMostTogether) +
                            ", with latents for each, found " + std::to_string(count) + " and " + describe_array(l));
    const Decoder& decoder = slots[0]->slot_.decoder();
    for (const PySlot* slot : slots)
      if (&slot->slot_.decoder() != &decoder) throw py::value_error("slots: expected slots of one decoder");
    const DecoderConfig& config = decoder.config();
    if (l.shape(2) != config.latent_channels)
      throw py::value_error("latents: expected float32 [N, H, " + std::to_string(config.latent_channels) + "], found " +
                            describe_array(l));
    const py::ssize_t hops = l.shape(1), samples = hops * config.hop_samples;
    py::array_t<std::uint8_t> codes({count, samples});
    const float* latent = static_cast<const float*>(l.data());
    std::uint8_t* out = codes.mutable_data();
    std::vector<std::unique_ptr<Use>> uses;
    std::vector<rtengine::Slot*> engine_slots;
    for (PySlot* slot : slots) {
      uses.push_back(std::make_unique<Use>(slot->busy_));
      engine_slots.push_back(&slot->slot_);
    }
    py::gil_scoped_release release;
    std::vector<std::uint8_t*> places(slots.size());
    for (py::ssize_t hop = 0; hop < hops; ++hop) {
      for (py::ssize_t k = 0; k < count; ++k) {
        engine_slots[static_cast<std::size_t>(k)]->begin_hop(latent + (k * hops + hop) * config.latent_channels);
        places[static_cast<std::size_t>(k)] = out + k * samples + hop * config.hop_samples;
      }
      rtengine::generate_together(engine_slots.data(), places.data(), static_cast<int>(count), config.hop_samples);
    }
    return codes;
  }

  py::array_t<std::uint8_t> generate(const py::object& latents) {
    const py::array l = require<float>("latents", latents, 2, "float32 [H, L]");
    const DecoderConfig& config = slot_.decoder().config();
    const py::ssize_t hops = check_latents(l, config);
    py::array_t<std::uint8_t> codes(hops * config.hop_samples);
    const float* latent = static_cast<const float*>(l.data());
    std::uint8_t* out = codes.mutable_data();
    const Use use(busy_);
    py::gil_scoped_release release;
    for (py::ssize_t hop = 0; hop < hops; ++hop) {
      slot_.begin_hop(latent + hop * config.latent_channels);
      slot_.generate(out + hop * config.hop_samples, config.hop_samples);
    }
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

  rtengine::Slot slot_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_engine(py::module_& m) {
  m.attr("CHUNK_SAMPLES") = rtengine::kChunkSamples;
  m.def("available_isas", [] {
    std::vector<std::string> names;
    for (const rtengine::Isa isa : rtengine::available_isas()) names.emplace_back(rtengine::isa_name(isa));
    return names;
  });
  m.attr("MOST_TOGETHER") = rtengine::kMostTogether;
  {
    std::vector<std::string> names(std::begin(rtengine::kPrecisions), std::end(rtengine::kPrecisions));
    m.attr("PRECISIONS") = py::tuple(py::cast(names));
  }
  m.def("read_loop_seconds", &rtengine::read_loop_seconds, py::arg("num_bytes"), py::arg("repeats"),
        py::call_guard<py::gil_scoped_release>());
  m.def("uniform", &rtengine::uniform, py::arg("seed"), py::arg("sample"));

  py::class_<PySlot>(m, "Slot")
      .def("reset", &PySlot::reset, py::arg("seed"))
      .def("generate", &PySlot::generate, py::arg("latents"))
      .def_property("temperature", &PySlot::temperature, &PySlot::set_temperature)
      .def_property_readonly("position", &PySlot::position);
  m.def("generate_together", &PySlot::generate_together, py::arg("slots"), py::arg("latents"));

  py::class_<Decoder, std::shared_ptr<Decoder>>(m, "Decoder")
      .def(py::init(&make_decoder), py::arg("config"), py::arg("weights"), py::kw_only(), py::arg("isa") = "auto",
           py::arg("precision") = "fp32", py::arg("calibration") = py::none(), py::arg("codes") = py::none())
      .def(
          "open_slot",
          [](std::shared_ptr<Decoder> self, std::uint64_t seed, float temperature) {
            return std::make_unique<PySlot>(std::move(self), seed, temperature);
          },
          py::arg("seed") = 0, py::arg("temperature") = 1.0f)
      .def("logits", &teacher_forced_logits, py::arg("latents"), py::arg("codes"))
      .def("input_ranges", &input_ranges, py::arg("latents"), py::arg("codes"))
      .def_property_readonly("isa", [](const Decoder& d) { return rtengine::isa_name(d.isa()); })
      .def_property_readonly("precision", &Decoder::precision)
      .def_property_readonly("layers", [](const Decoder& d) { return d.config().total_layers(); })
      .def_property_readonly("residual_channels", [](const Decoder& d) { return d.config().residual_channels; })
      .def_property_readonly("skip_channels", [](const Decoder& d) { return d.config().skip_channels; })
      .def_property_readonly("latent_channels", [](const Decoder& d) { return d.config().latent_channels; })
      .def_property_readonly("hop_samples", [](const Decoder& d) { return d.config().hop_samples; })
      .def_property_readonly("weight_bytes_per_sample", &Decoder::weight_bytes_per_sample);
}
