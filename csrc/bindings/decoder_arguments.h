// What makes a decoder, read from Python: the same for either engine.
#pragma once
#include <pybind11/numpy.h>

#include <string>
#include <utility>
#include <vector>

#include "cpu/decoder_config.h"
#include "cpu/tensors.h"
#include "require.h"

// engine.cpp. Throws ValueError naming the field.
rtengine::DecoderConfig read_decoder_config(const pybind11::dict& values);

// Views of float32 arrays by name, which are kept as long as this.
struct DecoderTensors {
  explicit DecoderTensors(const pybind11::dict& weights) {
    for (const auto& [key, value] : weights) {
      const std::string name = pybind11::str(key).cast<std::string>();
      pybind11::array array = require<float>("decoder weights: " + name, value, -1, "float32 values");
      views[name] = {{array.shape(), array.shape() + array.ndim()}, static_cast<const float*>(array.data())};
      keep_alive.push_back(std::move(array));
    }
  }
  rtengine::TensorViews views;
  std::vector<pybind11::array> keep_alive;
};
