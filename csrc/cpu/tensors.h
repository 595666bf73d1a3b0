// Tensors as they are handed over by name, and their checks on the way in: what a network's weights are read with.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace rtengine {

// The caller keeps `data` alive while the weights are built.
struct TensorView {
  std::vector<std::int64_t> shape;
  const float* data = nullptr;
};
using TensorViews = std::map<std::string, TensorView>;

// Hands tensors out by name and remembers which were asked for, so that unknown ones can be refused. Every refusal is a
// std::invalid_argument that begins with `what`, as in "decoder weights".
class TensorReader {
 public:
  TensorReader(const TensorViews& tensors, std::string what) : tensors_(tensors), what_(std::move(what)) {}

  // A copy of the tensor. Refuses a missing, misshapen or non-finite one.
  std::vector<float> take(const std::string& name, const std::vector<std::int64_t>& expected);

  void refuse_the_rest() const;

 private:
  const TensorViews& tensors_;
  std::string what_;
  std::set<std::string> taken_;
};

// Throws std::invalid_argument "WHAT: expected NAME from LOW to HIGH, found VALUE" unless value is within.
void check_range(const char* what, const char* name, int value, int low, int high);

}  // namespace rtengine
