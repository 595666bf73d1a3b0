// What the bindings of the stream share: arrays in and out, and names to enums.
#pragma once
#include <pybind11/numpy.h>

#include <memory>
#include <string>
#include <vector>

#include "stream/intake.h"

namespace py = pybind11;

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

inline py::array_t<float> to_array(const std::vector<float>& values) {
  return py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data());
}

// Frames of an array [n] or [n, channels]; throws ValueError for any other shape.
inline size_t frames_of(const Floats& x, int channels) {
  if (x.ndim() == 1 && channels == 1) return static_cast<size_t>(x.shape(0));
  if (x.ndim() == 2 && x.shape(1) == channels) return static_cast<size_t>(x.shape(0));
  throw py::value_error("frames: expected [n, " + std::to_string(channels) + "]" + (channels == 1 ? " or [n]" : "") +
                        ", found " + std::to_string(x.ndim()) + " dimensions, the last of " +
                        std::to_string(x.ndim() ? x.shape(x.ndim() - 1) : 0));
}

inline rtstream::Encoding encoding_of(const std::string& name) {
  if (name == "mu_law_rounded") return rtstream::Encoding::kMuLawRounded;
  if (name == "mu_law_published") return rtstream::Encoding::kMuLawPublished;
  if (name == "linear") return rtstream::Encoding::kLinear;
  throw py::value_error("encoding: expected mu_law_rounded, mu_law_published or linear, found " + name);
}
