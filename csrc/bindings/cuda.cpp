// CudaDecoder and CudaSlot for Python, where the module was built with CUDA; elsewhere only that it wasn't.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.h"
#include "decoder_arguments.h"
#include "decoding.h"
#include "voices.h"

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
  const TeacherForcing given(decoder.config(), latents, codes);
  return teacher_forced(given, given.samples, rtcuda::kClassCount,
                        [&](auto... arguments) { decoder.logits(arguments...); });
}

struct CudaEngine {
  using Decoder = CudaDecoder;
  using Slot = rtcuda::CudaSlot;
  static int most_together(const Decoder&) { return std::numeric_limits<int>::max(); }  // in several launches
  static void generate_together(Slot* const* slots, std::uint8_t* const* codes, int count, int n) {
    if (!rtcuda::generate_together(slots, codes, count, n))
      throw std::runtime_error("the GPU failed, and won't come back");
  }
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

  bind_slot<CudaEngine>(m, "CudaSlot", "cuda_generate_together");
  py::class_<CudaDecoder, std::shared_ptr<CudaDecoder> > decoder(m, "CudaDecoder");
  decoder
      .def(py::init(&make_decoder), py::arg("config"), py::arg("weights"), py::kw_only(), py::arg("precision") = "fp16",
           py::arg("device") = 0, py::arg("team_blocks") = 0)
      .def("logits", &logits, py::arg("latents"), py::arg("codes"))
      .def_property_readonly("precision", &CudaDecoder::precision)
      .def_property_readonly("device_name", &CudaDecoder::device_name)
      .def_property_readonly("most_together", &CudaDecoder::most_together)
      .def_property_readonly("failed", &CudaDecoder::failed)
      .def_property_readonly("weight_bytes_per_sample", &CudaDecoder::weight_bytes)
      .def_property_readonly("slot_bytes", &CudaDecoder::slot_bytes);
  bind_decoding<CudaEngine>(decoder);
}

#endif
