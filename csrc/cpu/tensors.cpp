#include "cpu/tensors.h"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace rtengine {
namespace {

std::string describe(const std::vector<std::int64_t>& shape) {
  std::ostringstream text;
  text << "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
  text << "]";
  return text.str();
}

}  // namespace

std::vector<float> TensorReader::take(const std::string& name, const std::vector<std::int64_t>& expected) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    throw std::invalid_argument(what_ + ": expected a tensor " + name + " of shape " + describe(expected) +
                                ", found none");
  if (found->second.shape != expected)
    throw std::invalid_argument(what_ + ": expected " + name + " of shape " + describe(expected) + ", found " +
                                describe(found->second.shape));
  std::size_t count = 1;
  for (const std::int64_t n : expected) count *= static_cast<std::size_t>(n);
  std::vector<float> values(found->second.data, found->second.data + count);
  for (const float value : values)
    if (!std::isfinite(value))
      throw std::invalid_argument(what_ + ": expected finite numbers in " + name + ", found NaN or infinity");
  taken_.insert(name);
  return values;
}

void TensorReader::refuse_the_rest() const {
  for (const auto& [name, tensor] : tensors_)
    if (!taken_.count(name))
      throw std::invalid_argument(what_ + ": expected " + std::to_string(taken_.size()) +
                                  " tensors, found an unknown one: " + name + " of shape " + describe(tensor.shape));
}

void check_range(const char* what, const char* name, int value, int low, int high) {
  if (value >= low && value <= high) return;
  std::ostringstream text;
  text << what << ": expected " << name << " from " << low << " to " << high << ", found " << value;
  throw std::invalid_argument(text.str());
}

}  // namespace rtengine
