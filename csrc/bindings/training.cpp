// DecoderPass for Python: arrays are those of the tensors, and stay where they are. The GIL is released while it
// computes.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings.h"
#include "cpu/decoder_config.h"
#include "require.h"
#include "training/decoder_pass.h"

namespace py = pybind11;

namespace {

using rttraining::Conditioning;
using rttraining::DecoderPass;
using rttraining::PassInputs;
using rttraining::PassShape;
using rttraining::PassWeights;
using FloatArray = py::array_t<float>;

// Calls take(name, numbers) for the arrays of a pass's weights, in their order.
template <class Take>
void each_array(const PassShape& shape, const Take& take) {
  const int r = shape.r, s = shape.s;
  take("input", 2 * r), take("input_bias", r), take("input_skip", s * r), take("input_skip_bias", s);
  for (int i = 0; i < shape.layers(); ++i) {
    take("dilated", 4 * r * r), take("residual", r * r), take("residual_bias", r);
    take("skip", s * r), take("skip_bias", s);
  }
  take("output", s * s), take("logits", rtengine::kClasses * s), take("logits_bias", rtengine::kClasses);
}

template <class T>
PassWeights<T> view(const PassShape& shape, const std::vector<T*>& pointers) {
  PassWeights<T> weights;
  auto next = pointers.begin();
  weights.input = *next++, weights.input_bias = *next++;
  weights.input_skip = *next++, weights.input_skip_bias = *next++;
  for (int i = 0; i < shape.layers(); ++i) {
    auto& layer = weights.layers.emplace_back();
    layer.dilated = *next++, layer.residual = *next++, layer.residual_bias = *next++;
    layer.skip = *next++, layer.skip_bias = *next++;
  }
  weights.output = *next++, weights.logits = *next++, weights.logits_bias = *next++;
  return weights;
}

template <class T>
const T* numbers(const std::string& name, const py::handle& value, std::size_t count) {
  const char* type = std::is_same_v<T, float> ? "a C-contiguous float32 array" : "a C-contiguous uint8 array";
  const py::array array = require<T>(name, value, -1, type);
  if (static_cast<std::size_t>(array.size()) != count)
    throw py::value_error(name + ": expected " + std::to_string(count) + " numbers, found " + describe_array(array));
  return static_cast<const T*>(array.data());
}

PassWeights<const float> read_weights(const PassShape& shape, const py::list& arrays) {
  std::vector<const float*> pointers;
  each_array(shape, [&](const char* name, int count) {
    if (pointers.size() >= arrays.size()) throw py::value_error(std::string("weights: ") + name + " is missing");
    pointers.push_back(numbers<float>(name, arrays[pointers.size()], static_cast<std::size_t>(count)));
  });
  if (pointers.size() != arrays.size()) throw py::value_error("weights: expected " + std::to_string(pointers.size()));
  return view(shape, pointers);
}

FloatArray zeros(std::vector<py::ssize_t> shape) {
  FloatArray array(std::move(shape));
  std::fill_n(array.mutable_data(), array.size(), 0.0f);
  return array;
}

struct Pass {
  Pass(PassShape shape, const std::string& isa, bool bf16) : pass(std::move(shape), kernels(isa, bf16)) {}

  static const rttraining::Kernels& kernels(const std::string& isa, bool bf16) {
    const rttraining::Kernels* found = rttraining::kernels_of(isa, bf16);
    if (!found && bf16) throw std::invalid_argument("decoder pass: bfloat16 needs AMX, which there isn't");
    if (!found) throw std::invalid_argument("decoder pass: expected AVX2 or AVX-512, found neither");
    return *found;
  }

  std::size_t samples() const {
    return static_cast<std::size_t>(pass.shape().batch) * static_cast<std::size_t>(pass.shape().samples);
  }
  std::size_t hops() const {
    return static_cast<std::size_t>(pass.shape().batch) * static_cast<std::size_t>(pass.shape().hops());
  }

  PassInputs read(const py::list& arrays, const py::handle& layers, const py::handle& output, const py::handle& past,
                  const py::handle& ahead) const {
    const PassShape& shape = pass.shape();
    const std::size_t rows = hops() * static_cast<std::size_t>(shape.layers());
    return {read_weights(shape, arrays),
            {numbers<float>("conditioning", layers, rows * 2 * static_cast<std::size_t>(shape.r)),
             numbers<float>("output conditioning", output, hops() * static_cast<std::size_t>(shape.s))},
            numbers<float>("past", past, samples()),
            ahead.is_none() ? nullptr : numbers<float>("ahead", ahead, samples())};
  }

  DecoderPass pass;
};

}  // namespace

void bind_training(py::module_& m) {
  py::class_<Pass>(
      m, "DecoderPass",
      "One decoder's training pass on the CPU: losses of codes and their gradients.\n\n"
      "B segments of T samples, H hops, N layers. weights: the arrays of models.Decoder without the biases "
      "of gated convolutions and of the output, which are part of the conditioning, in the order input, "
      "input_bias, input_skip, input_skip_bias, of each layer dilated, residual, residual_bias, skip and "
      "skip_bias, output, logits, logits_bias. bfloat16: matrix products are of bfloat16, their sums of float32; "
      "that needs AMX. ValueError if an array or a size doesn't fit, or without AVX2 and AVX-512.")
      .def(py::init([](int residual_channels, int skip_channels, std::vector<int> dilations, int hop_samples, int batch,
                       int samples, const std::string& isa, bool bf16) {
             PassShape shape{residual_channels, skip_channels, hop_samples, batch, samples, std::move(dilations)};
             return std::make_unique<Pass>(std::move(shape), isa, bf16);
           }),
           py::kw_only(), py::arg("residual_channels"), py::arg("skip_channels"), py::arg("dilations"),
           py::arg("hop_samples"), py::arg("batch"), py::arg("samples"), py::arg("isa") = "auto",
           py::arg("bfloat16") = false)
      .def_static(
          "width",
          [](const std::string& isa) {
            const rttraining::Kernels* kernels = rttraining::kernels_of(isa);
            return kernels ? kernels->width : 0;
          },
          py::arg("isa") = "auto", "Channels must be multiples of this; 0 where this processor has no kernels.")
      .def_static(
          "has_bfloat16", [](const std::string& isa) { return rttraining::kernels_of(isa, true) != nullptr; },
          py::arg("isa") = "auto", "Whether this processor has what `bfloat16` needs.")
      .def(
          "forward",
          [](Pass& self, const py::list& arrays, const py::handle& conditioning, const py::handle& output,
             const py::handle& past, const py::handle& wanted, const py::handle& ahead) {
            const auto given = self.read(arrays, conditioning, output, past, ahead);
            FloatArray losses({self.pass.shape().batch, self.pass.shape().samples});
            float* to = losses.mutable_data();
            const bool soft = py::isinstance<FloatArray>(wanted);
            const float* chances =
                soft ? numbers<float>("wanted", wanted, self.samples() * rtengine::kClasses) : nullptr;
            const auto* codes = soft ? nullptr : numbers<std::uint8_t>("wanted", wanted, self.samples());
            py::gil_scoped_release released;
            soft ? self.pass.forward(given, chances, to) : self.pass.forward(given, codes, to);
            return losses;
          },
          py::arg("weights"), py::arg("conditioning"), py::arg("output_conditioning"), py::arg("past"),
          py::arg("wanted"), py::arg("ahead") = py::none(),
          "Cross-entropy [B, T] in nats given past network inputs [B, T] (shifted in here), conditioning "
          "[N, B, H, 2R] and output_conditioning [B, H, S]. wanted: codes uint8 [B, T], or distributions float32 "
          "[B, T, 256]. ahead: network inputs [B, T] of what is predicted, not shifted; codes are classes then. "
          "Keeps what `backward` needs.")
      .def(
          "backward",
          [](Pass& self, const py::list& arrays, const py::handle& dlosses) {
            const PassShape& shape = self.pass.shape();
            const auto weights = read_weights(shape, arrays);
            const float* given = numbers<float>("dlosses", dlosses, self.samples());
            py::list gradients;
            std::vector<float*> pointers;
            each_array(shape, [&](const char*, int) {
              const py::array like = py::reinterpret_borrow<py::array>(arrays[pointers.size()]);
              FloatArray gradient = zeros({like.shape(), like.shape() + like.ndim()});
              pointers.push_back(gradient.mutable_data());
              gradients.append(gradient);
            });
            FloatArray layers = zeros({shape.layers(), shape.batch, shape.hops(), 2 * shape.r});
            FloatArray output = zeros({shape.batch, shape.hops(), shape.s});
            const auto to = view(shape, pointers);
            const Conditioning<float> conditioning{layers.mutable_data(), output.mutable_data()};
            {
              py::gil_scoped_release released;
              self.pass.backward(weights, given, to, conditioning);
            }
            return py::make_tuple(gradients, layers, output);
          },
          py::arg("weights"), py::arg("dlosses"),
          "Gradients of the last `forward`, once: those of the weights, of the conditioning and of the output's.")
      .def(
          "draw",
          [](Pass& self, const py::list& arrays, const py::handle& conditioning, const py::handle& output,
             const py::handle& past, const py::handle& uniform, const py::handle& ahead) {
            const auto given = self.read(arrays, conditioning, output, past, ahead);
            const float* drawn = numbers<float>("uniform", uniform, self.samples());
            py::array_t<std::uint8_t> codes({self.pass.shape().batch, self.pass.shape().samples});
            std::uint8_t* to = codes.mutable_data();
            py::gil_scoped_release released;
            self.pass.draw(given, drawn, to);
            return codes;
          },
          py::arg("weights"), py::arg("conditioning"), py::arg("output_conditioning"), py::arg("past"),
          py::arg("uniform"), py::arg("ahead") = py::none(),
          "Codes uint8 [B, T] drawn from what `forward` would say, with numbers in [0, 1) [B, T].")
      .def(
          "logits",
          [](Pass& self, const py::list& arrays, const py::handle& conditioning, const py::handle& output,
             const py::handle& past, const py::handle& ahead) {
            const auto given = self.read(arrays, conditioning, output, past, ahead);
            FloatArray logits({self.pass.shape().batch, self.pass.shape().samples, rtengine::kClasses});
            float* to = logits.mutable_data();
            py::gil_scoped_release released;
            self.pass.logits(given, to);
            return logits;
          },
          py::arg("weights"), py::arg("conditioning"), py::arg("output_conditioning"), py::arg("past"),
          py::arg("ahead") = py::none(), "Logits [B, T, 256] of what `forward` would say.");
}
