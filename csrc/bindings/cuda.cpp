// CudaDecoder and CudaSlot for Python, where the module was built with CUDA; elsewhere only that it wasn't.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.h"
#include "decoder_arguments.h"
#include "require.h"
#include "voices.h"

namespace py = pybind11;

#if !defined(RTSERVER_HAS_CUDA)

VoiceMaker cuda_voice_maker(const py::handle&, int*) { return {}; }
void bind_cuda(py::module_& m) {
  m.attr("CUDA_ARCHITECTURES") = "";
  m.def("cuda_devices", [] { return 0; });
}

#else

#include "cuda/cuda_voice.h"
#include "cuda/decoder.h"

namespace {

using rtcuda::CudaDecoder;
using rtcuda::CudaSlot;

std::shared_ptr<CudaDecoder> make_decoder(const py::dict& config, const py::dict& weights, const std::string& precision,
                                          int device, int team_blocks) {
  const rtengine::DecoderConfig checked = read_decoder_config(config);
  const DecoderTensors tensors(weights);
  rtcuda::DecoderOptions options;
  options.precision = precision;
  options.device = device;
  options.team_blocks = team_blocks;
  py::gil_scoped_release release;
  return std::make_shared<CudaDecoder>(checked, tensors.views, options);
}

py::array_t<float> logits(CudaDecoder& decoder, const py::object& latents, const py::object& codes) {
  const py::array l = require<float>("latents", latents, 2, "float32 [H, L]");
  const py::array c = require<std::uint8_t>("codes", codes, 1, "uint8 [T]");
  const rtengine::DecoderConfig& config = decoder.config();
  if (l.shape(1) != config.latent_channels || c.shape(0) > l.shape(0) * config.hop_samples)
    throw py::value_error("latents: expected float32 [H, " + std::to_string(config.latent_channels) +
                          "], a row a hop of " + std::to_string(config.hop_samples) + " codes, found " +
                          describe_array(l));
  py::array_t<float> out({c.shape(0), static_cast<py::ssize_t>(rtcuda::kClassCount)});
  float* data = out.mutable_data();
  py::gil_scoped_release release;
  decoder.logits(static_cast<const float*>(l.data()), static_cast<const std::uint8_t*>(c.data()), c.shape(0), data);
  return out;
}

// A CudaSlot and the flag that refuses two threads at once.
class PyCudaSlot {
 public:
  PyCudaSlot(std::shared_ptr<CudaDecoder> decoder, std::uint64_t seed, float temperature)
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

  static py::array_t<std::uint8_t> generate_together(const std::vector<PyCudaSlot*>& slots, const py::object& latents) {
    const py::array l = require<float>("latents", latents, 3, "float32 [N, H, L]");
    if (slots.empty() || l.shape(0) != static_cast<py::ssize_t>(slots.size()))
      throw py::value_error("slots: expected one or more, with latents for each, found " +
                            std::to_string(slots.size()) + " and " + describe_array(l));
    for (const PyCudaSlot* slot : slots)
      if (&slot->slot_.decoder() != &slots[0]->slot_.decoder())
        throw py::value_error("slots: expected slots of one decoder");
    py::array_t<std::uint8_t> codes({l.shape(0), l.shape(1) * slots[0]->slot_.decoder().config().hop_samples});
    play(slots, l, l.shape(1), l.shape(2), codes.mutable_data());
    return codes;
  }
  py::array_t<std::uint8_t> generate(const py::object& latents) {
    const py::array l = require<float>("latents", latents, 2, "float32 [H, L]");
    py::array_t<std::uint8_t> codes(l.shape(0) * slot_.decoder().config().hop_samples);
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

  static void play(const std::vector<PyCudaSlot*>& slots, const py::array& latents, py::ssize_t hops,
                   py::ssize_t channels, std::uint8_t* codes) {
    const rtengine::DecoderConfig& config = slots[0]->slot_.decoder().config();
    if (channels != config.latent_channels)
      throw py::value_error("latents: expected " + std::to_string(config.latent_channels) + " channels, found " +
                            describe_array(latents));
    std::vector<std::unique_ptr<Use> > uses;
    std::vector<CudaSlot*> engine_slots;
    for (PyCudaSlot* slot : slots) {
      uses.push_back(std::make_unique<Use>(slot->busy_));
      engine_slots.push_back(&slot->slot_);
    }
    const float* latent = static_cast<const float*>(latents.data());
    const std::ptrdiff_t hop_samples = config.hop_samples, samples = hops * hop_samples;
    py::gil_scoped_release release;
    std::vector<std::uint8_t*> places(slots.size());
    for (py::ssize_t hop = 0; hop < hops; ++hop) {
      for (std::size_t k = 0; k < slots.size(); ++k) {
        engine_slots[k]->begin_hop(latent + (static_cast<std::ptrdiff_t>(k) * hops + hop) * channels);
        places[k] = codes + static_cast<std::ptrdiff_t>(k) * samples + hop * hop_samples;
      }
      if (!rtcuda::generate_together(engine_slots.data(), places.data(), static_cast<int>(slots.size()),
                                     config.hop_samples))
        throw std::runtime_error("the GPU failed, and won't come back");
    }
  }

  CudaSlot slot_;
  std::atomic<bool> busy_{false};
};

}  // namespace

VoiceMaker cuda_voice_maker(const py::handle& decoder, int* hop_samples) {
  if (!py::isinstance<CudaDecoder>(decoder)) return {};
  auto on_gpu = decoder.cast<std::shared_ptr<CudaDecoder> >();
  *hop_samples = on_gpu->config().hop_samples;
  return [on_gpu] { return std::make_unique<rtcuda::CudaVoice>(on_gpu); };
}

void bind_cuda(py::module_& m) {
  m.attr("CUDA_ARCHITECTURES") = RTSERVER_HAS_CUDA;
  m.def("cuda_devices", &rtcuda::device_count);

  py::class_<PyCudaSlot>(m, "CudaSlot")
      .def("reset", &PyCudaSlot::reset, py::arg("seed"))
      .def("generate", &PyCudaSlot::generate, py::arg("latents"))
      .def_property("temperature", &PyCudaSlot::temperature, &PyCudaSlot::set_temperature)
      .def_property_readonly("position", &PyCudaSlot::position);
  m.def("cuda_generate_together", &PyCudaSlot::generate_together, py::arg("slots"), py::arg("latents"));

  py::class_<CudaDecoder, std::shared_ptr<CudaDecoder> >(m, "CudaDecoder")
      .def(py::init(&make_decoder), py::arg("config"), py::arg("weights"), py::kw_only(), py::arg("precision") = "fp16",
           py::arg("device") = 0, py::arg("team_blocks") = 0)
      .def(
          "open_slot",
          [](std::shared_ptr<CudaDecoder> self, std::uint64_t seed, float temperature) {
            return std::make_unique<PyCudaSlot>(std::move(self), seed, temperature);
          },
          py::arg("seed") = 0, py::arg("temperature") = 1.0f)
      .def("logits", &logits, py::arg("latents"), py::arg("codes"))
      .def_property_readonly("precision", &CudaDecoder::precision)
      .def_property_readonly("device_name", &CudaDecoder::device_name)
      .def_property_readonly("most_together", &CudaDecoder::most_together)
      .def_property_readonly("failed", &CudaDecoder::failed)
      .def_property_readonly("layers", [](const CudaDecoder& d) { return d.config().total_layers(); })
      .def_property_readonly("residual_channels", [](const CudaDecoder& d) { return d.config().residual_channels; })
      .def_property_readonly("skip_channels", [](const CudaDecoder& d) { return d.config().skip_channels; })
      .def_property_readonly("latent_channels", [](const CudaDecoder& d) { return d.config().latent_channels; })
      .def_property_readonly("hop_samples", [](const CudaDecoder& d) { return d.config().hop_samples; })
      .def_property_readonly("weight_bytes_per_sample", &CudaDecoder::weight_bytes)
      .def_property_readonly("slot_bytes", &CudaDecoder::slot_bytes);
}

#endif
