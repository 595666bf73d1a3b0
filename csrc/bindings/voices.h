// Decoders of either engine, as Python hands them over, made into voices.
#pragma once
#include <pybind11/pybind11.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cpu/decoder.h"
#include "stream/model_voice.h"

// Makes a voice; needs no interpreter, so that its memory can be allocated without it.
using VoiceMaker = std::function<std::unique_ptr<rtstream::Voice>()>;

// cuda.cpp: what makes a voice of a CudaDecoder, and its hop; null for anything else, and in a build without CUDA.
VoiceMaker cuda_voice_maker(const pybind11::handle& decoder, int* hop_samples);

// One a decoder; throws ValueError for anything else or another hop.
inline std::vector<VoiceMaker> voice_makers(const std::vector<pybind11::object>& decoders, int hop_samples) {
  namespace py = pybind11;
  std::vector<VoiceMaker> makers;
  for (const py::object& decoder : decoders) {
    int its_hop = 0;
    VoiceMaker maker = cuda_voice_maker(decoder, &its_hop);
    if (!maker) {
      if (!py::isinstance<rtengine::Decoder>(decoder)) throw py::value_error("voices: expected decoders, found none");
      auto on_cpu = decoder.cast<std::shared_ptr<rtengine::Decoder>>();
      its_hop = on_cpu->config().hop_samples;
      maker = [on_cpu] { return std::make_unique<rtstream::ModelVoice>(on_cpu); };
    }
    if (its_hop != hop_samples)
      throw py::value_error("voices: expected a hop of " + std::to_string(hop_samples) + " samples, found " +
                            std::to_string(its_hop));
    makers.push_back(std::move(maker));
  }
  return makers;
}

inline std::vector<std::unique_ptr<rtstream::Voice>> voices_of(const std::vector<VoiceMaker>& makers) {
  std::vector<std::unique_ptr<rtstream::Voice>> voices;
  for (const VoiceMaker& maker : makers) voices.push_back(maker());
  return voices;
}
