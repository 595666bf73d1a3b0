// Encoder and EncoderStream for Python. The GIL is released wherever samples are computed.
#include "cpu/encoder.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "require.h"

namespace py = pybind11;

namespace {

using rtengine::Encoder;
using rtengine::EncoderConfig;
using rtengine::EncoderRanges;

template <class T>
T field(const py::dict& values, const char* name, const char* kind, const char* of = "encoder config") {
  const std::string expected = std::string(of) + ": expected " + kind + " " + name;
  if (!values.contains(name)) throw py::value_error(expected + ", found none");
  const py::object value = values[name];
  if (py::isinstance<py::bool_>(value) != std::is_same_v<T, bool>)
    throw py::value_error(expected + ", found " + py::repr(value).cast<std::string>());
  try {
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw py::value_error(expected + ", found " + py::repr(value).cast<std::string>());
  }
}

std::optional<rtengine::ConstantQConfig> read_front_end(const py::dict& values) {
  if (!values.contains("front_end") || py::object(values["front_end"]).is_none()) return std::nullopt;
  if (!py::isinstance<py::dict>(values["front_end"]))
    throw py::value_error("encoder config: expected a dictionary front_end, found " +
                          py::repr(values["front_end"]).cast<std::string>());
  const py::dict fields = values["front_end"];
  rtengine::ConstantQConfig config;
  const std::vector<std::pair<const char*, int*>> integers = {
      {"lowest_note", &config.lowest_note},         {"octaves", &config.octaves},
      {"bins_per_octave", &config.bins_per_octave}, {"periods", &config.periods},
      {"window_samples", &config.window_samples},
  };
  for (const auto& [name, to] : integers) *to = field<int>(fields, name, "an integer", "front end");
  if (fields.size() != integers.size())
    throw py::value_error("front end: found unknown fields in " + py::repr(fields.attr("keys")()).cast<std::string>());
  return config;
}

EncoderConfig read_config(const py::dict& values) {
  EncoderConfig config;
  const std::vector<std::pair<const char*, int*>> integers = {
      {"blocks", &config.blocks},
      {"layers", &config.layers},
      {"channels", &config.channels},
      {"kernel_size", &config.kernel_size},
      {"latent_channels", &config.latent_channels},
      {"hop_samples", &config.hop_samples},
  };
  for (const auto& [name, to] : integers) *to = field<int>(values, name, "an integer");
  config.causal = field<bool>(values, "causal", "a boolean");
  config.pre_activation = field<bool>(values, "pre_activation", "a boolean");
  config.front_end = read_front_end(values);
  if (values.size() != integers.size() + (values.contains("front_end") ? 3 : 2))
    throw py::value_error("encoder config: found unknown fields in " +
                          py::repr(values.attr("keys")()).cast<std::string>());
  config.validate();
  return config;
}

std::vector<float> range(const py::dict& values, const char* name, const EncoderConfig& config) {
  const std::string what = std::string("calibration: ") + name;
  if (!values.contains(name)) throw py::value_error(what + ": expected float32 [layers, C], found none");
  const py::array array = require<float>(what, values[name], 2, "float32 [layers, C]");
  if (array.shape(0) != config.total_layers() || array.shape(1) != config.channels)
    throw py::value_error(what + ": expected float32 [" + std::to_string(config.total_layers()) + ", " +
                          std::to_string(config.channels) + "], found " + describe_array(array));
  const float* data = static_cast<const float*>(array.data());
  return {data, data + array.size()};
}

std::optional<EncoderRanges> read_ranges(const py::object& calibration, const EncoderConfig& config) {
  if (calibration.is_none()) return std::nullopt;
  if (!py::isinstance<py::dict>(calibration))
    throw py::value_error("calibration: expected a dictionary of arrays, found " +
                          py::str(py::type::of(calibration).attr("__name__")).cast<std::string>());
  const py::dict values = calibration;
  EncoderRanges ranges;
  if (config.front_end) {
    if (values.size() != 0) throw py::value_error("calibration: expected none of an encoder behind a front end");
    return ranges;
  }
  ranges.input = range(values, "input", config);
  if (!config.pre_activation) ranges.hidden = range(values, "hidden", config);
  if (values.size() != (config.pre_activation ? 1u : 2u))
    throw py::value_error("calibration: found unknown fields in " +
                          py::repr(values.attr("keys")()).cast<std::string>());
  return ranges;
}

std::shared_ptr<Encoder> make_encoder(const py::dict& config, const py::dict& weights, const std::string& isa,
                                      const std::string& precision, const py::object& calibration) {
  const EncoderConfig checked = read_config(config);
  const std::optional<EncoderRanges> ranges = read_ranges(calibration, checked);
  rtengine::TensorViews tensors;
  std::vector<py::array> keep_alive;
  for (const auto& [key, value] : weights) {
    const std::string name = py::str(key).cast<std::string>();
    py::array array = require<float>("encoder weights: " + name, value, -1, "float32 values");
    tensors[name] = {{array.shape(), array.shape() + array.ndim()}, static_cast<const float*>(array.data())};
    keep_alive.push_back(std::move(array));
  }
  py::gil_scoped_release release;
  return std::make_shared<Encoder>(checked, tensors, isa, precision, ranges);
}

py::dict ranges(const Encoder& encoder, const py::object& audio) {
  const EncoderConfig& config = encoder.config();
  const py::array array = require<float>("audio", audio, 1, "float32 [T]");
  const py::ssize_t hops = array.shape(0) / config.hop_samples;
  if (hops * config.hop_samples != array.shape(0))
    throw py::value_error("audio: expected a multiple of " + std::to_string(config.hop_samples) + " samples, found " +
                          std::to_string(array.shape(0)));
  EncoderRanges found;
  {
    py::gil_scoped_release release;
    found = encoder.ranges(static_cast<const float*>(array.data()), hops);
  }
  const auto shaped = [&](const std::vector<float>& values) {
    return py::array_t<float>({config.total_layers(), config.channels}, values.data());
  };
  py::dict result;
  if (config.front_end) return result;
  result["input"] = shaped(found.input);
  if (!config.pre_activation) result["hidden"] = shaped(found.hidden);
  return result;
}

// A stream and the flag that refuses two threads at once: they would mix two streams up.
class PyEncoderStream {
 public:
  explicit PyEncoderStream(std::shared_ptr<const Encoder> encoder) : stream_(std::move(encoder)) {}

  void reset() {
    const Use use(busy_);
    py::gil_scoped_release release;
    stream_.reset();
  }

  py::object step(const py::array& hop) {
    const Use use(busy_);
    const int expected = stream_.encoder().config().hop_samples;
    if (!py::isinstance<py::array_t<float>>(hop) || hop.ndim() != 1 || hop.shape(0) != expected ||
        !(hop.flags() & py::array::c_style))
      throw py::value_error("a hop has " + std::to_string(expected) + " samples, contiguous float32 [" +
                            std::to_string(expected) + "], found " + describe_array(hop));
    if (stream_.finished()) throw py::value_error("the stream has ended; reset() begins another");
    const float* latent;
    {
      const float* samples = static_cast<const float*>(hop.data());
      py::gil_scoped_release release;
      latent = stream_.step(samples);
    }
    return latent ? copied(latent) : py::none();
  }

  py::list finish() {
    const Use use(busy_);
    py::list latents;
    for (;;) {
      const float* latent;
      {
        py::gil_scoped_release release;
        latent = stream_.finish();
      }
      if (!latent) return latents;
      latents.append(copied(latent));
    }
  }

 private:
  struct Use {
    explicit Use(std::atomic<bool>& busy) : busy(busy) {
      if (busy.exchange(true, std::memory_order_acquire))
        throw std::runtime_error("encoder stream: expected one thread at a time, found it in use by another");
    }
    ~Use() { busy.store(false, std::memory_order_release); }
    std::atomic<bool>& busy;
  };

  py::object copied(const float* latent) const {
    return py::array_t<float>(stream_.encoder().config().latent_channels, latent);
  }

  rtengine::EncoderStream stream_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_encoder(py::module_& m) {
  py::class_<PyEncoderStream>(m, "EncoderStream")
      .def("reset", &PyEncoderStream::reset)
      .def("step", &PyEncoderStream::step, py::arg("hop"))
      .def("finish", &PyEncoderStream::finish);

  py::class_<Encoder, std::shared_ptr<Encoder>>(m, "Encoder")
      .def(py::init(&make_encoder), py::arg("config"), py::arg("weights"), py::kw_only(), py::arg("isa") = "auto",
           py::arg("precision") = "fp32", py::arg("calibration") = py::none())
      .def("open_stream",
           [](std::shared_ptr<Encoder> self) { return std::make_unique<PyEncoderStream>(std::move(self)); })
      .def("ranges", &ranges, py::arg("audio"))
      .def_property_readonly("isa", [](const Encoder& self) { return rtengine::isa_name(self.isa()); })
      .def_property_readonly("precision", &Encoder::precision)
      .def_property_readonly("hop_samples", [](const Encoder& self) { return self.config().hop_samples; })
      .def_property_readonly("latent_channels", [](const Encoder& self) { return self.config().latent_channels; })
      .def_property_readonly("multiply_adds_per_hop", &Encoder::multiply_adds_per_hop);
}
