// Decoder and Slot of the CPU for Python.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

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
#include "decoding.h"
#include "require.h"

using rtengine::Decoder;
using rtengine::DecoderConfig;

namespace {

int integer_field(const py::dict& values, const char* name) {
  const py::object value = values[name];
  try {
    return value.cast<int>();
  } catch (const py::cast_error&) {
    throw py::value_error(std::string("decoder config: expected an integer ") + name + ", found " +
                          py::repr(value).cast<std::string>());
  }
}

}  // namespace

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
    *field = integer_field(values, name);
    ++known;
  }
  if (values.contains("prediction_order")) {
    config.prediction_order = integer_field(values, "prediction_order");
    ++known;
  }
  if (values.contains("mu_law")) {
    const py::object value = values["mu_law"];
    if (!py::isinstance<py::str>(value))
      throw py::value_error("decoder config: expected a string mu_law, found " + py::repr(value).cast<std::string>());
    config.mu_law = value.cast<std::string>();
    ++known;
  }
  if (values.contains("emphasis")) {
    const py::object value = values["emphasis"];
    if (!py::isinstance<py::float_>(value) && (!py::isinstance<py::int_>(value) || py::isinstance<py::bool_>(value)))
      throw py::value_error("decoder config: expected a number emphasis, found " + py::repr(value).cast<std::string>());
    config.emphasis = value.cast<double>();
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

py::array_t<float> teacher_forced_logits(const Decoder& decoder, const py::object& latents, const py::object& codes) {
  const TeacherForcing given(decoder.config(), latents, codes);
  return teacher_forced(given, given.samples, rtengine::kClasses,
                        [&](auto... arguments) { decoder.logits(arguments...); });
}

py::array_t<float> input_ranges(const Decoder& decoder, const py::object& latents, const py::object& codes) {
  const DecoderConfig& config = decoder.config();
  return teacher_forced(TeacherForcing(config, latents, codes), config.total_layers(), config.residual_channels,
                        [&](auto... arguments) { decoder.input_ranges(arguments...); });
}

py::array_t<std::uint8_t> say(const Decoder& decoder, const py::object& latents, const py::object& codes,
                              const py::object& own, const py::object& numbers, float temperature) {
  if (!(temperature >= rtengine::kMinimumTemperature))
    throw py::value_error("temperature: expected a number above 0, found " + std::to_string(temperature));
  const TeacherForcing given(decoder.config(), latents, codes);
  const py::array which = require<bool>("own", own, 1, "bool [T]");
  const py::array drawn = require<float>("numbers", numbers, 1, "float32 [T]");
  if (which.shape(0) != given.samples || drawn.shape(0) != given.samples)
    throw py::value_error("own and numbers: expected " + std::to_string(given.samples) + " each, as many as codes");
  py::array_t<std::uint8_t> said(given.samples);
  std::uint8_t* to = said.mutable_data();
  std::copy_n(static_cast<const std::uint8_t*>(given.c.data()), given.samples, to);
  const bool* mine = static_cast<const bool*>(which.data());
  const float *heard = static_cast<const float*>(given.l.data()), *numbers_of = static_cast<const float*>(drawn.data());
  const py::gil_scoped_release released;
  decoder.say(heard, to, mine, numbers_of, given.samples, temperature);
  return said;
}

struct CpuEngine {
  using Decoder = const rtengine::Decoder;
  using Slot = rtengine::Slot;
  static int most_together(const Decoder&) { return rtengine::kMostTogether; }
  static void generate_together(Slot* const* slots, std::uint8_t* const* codes, int count, int n) {
    if (count == 1)
      slots[0]->generate(codes[0], n);
    else
      rtengine::generate_together(slots, codes, count, n);
  }
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
  m.def(
      "predictions",
      [](int order, const py::object& past) {
        if (order < 1 || order > rtengine::kPredictionWindow)
          throw py::value_error("order: expected 1 to " + std::to_string(rtengine::kPredictionWindow) + ", found " +
                                std::to_string(order));
        const py::array given = require<float>("past", past, 2, "float32 [B, T]");
        py::array_t<float> ahead({given.shape(0), given.shape(1)});
        const float* from = static_cast<const float*>(given.data());
        float* to = ahead.mutable_data();
        const py::gil_scoped_release released;
        for (py::ssize_t b = 0; b < ahead.shape(0); ++b)
          rtengine::predictions(order, from + b * ahead.shape(1), ahead.shape(1), to + b * ahead.shape(1));
        return ahead;
      },
      py::arg("order"), py::arg("past"),
      "Network inputs [B, T] of what linear prediction of that order makes of past network inputs [B, T] before each.");
  m.def("uniform", &rtengine::uniform, py::arg("seed"), py::arg("sample"));

  bind_slot<CpuEngine>(m, "Slot", "generate_together");
  py::class_<Decoder, std::shared_ptr<Decoder>> decoder(m, "Decoder");
  decoder
      .def(py::init(&make_decoder), py::arg("config"), py::arg("weights"), py::kw_only(), py::arg("isa") = "auto",
           py::arg("precision") = "fp32", py::arg("calibration") = py::none(), py::arg("codes") = py::none())
      .def("logits", &teacher_forced_logits, py::arg("latents"), py::arg("codes"))
      .def("say", &say, py::arg("latents"), py::arg("codes"), py::arg("own"), py::arg("numbers"),
           py::arg("temperature") = 1.0f)
      .def("input_ranges", &input_ranges, py::arg("latents"), py::arg("codes"))
      .def_property_readonly("isa", [](const Decoder& d) { return rtengine::isa_name(d.isa()); })
      .def_property_readonly("precision", &Decoder::precision)
      .def_property_readonly("weight_bytes_per_sample", &Decoder::weight_bytes_per_sample);
  bind_decoding<CpuEngine>(decoder);
}
