#include "cpu/constant_q.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "cpu/tensors.h"

namespace rtengine {
namespace {

constexpr const char* kConfig = "front end";
constexpr double kPi = 3.14159265358979323846;
constexpr double kSampleRateHz = 16000.0;
constexpr int kMostValues = 1 << 22;  // bins times window_samples
// As in models/constant_q.py.
constexpr double kSkew = 1.5;
constexpr float kFloor = 1e-7f, kScale = 0.25f, kOffset = 2.0f;

}  // namespace

double ConstantQConfig::frequency_hz(int bin) const {
  return 440.0 * std::pow(2.0, (lowest_note - 69) / 12.0 + static_cast<double>(bin) / bins_per_octave);
}

void ConstantQConfig::validate(int hop_samples) const {
  check_range(kConfig, "lowest_note", lowest_note, 12, 120);
  check_range(kConfig, "octaves", octaves, 1, 9);
  check_range(kConfig, "bins_per_octave", bins_per_octave, 1, 96);
  check_range(kConfig, "periods", periods, 1, 1024);
  check_range(kConfig, "window_samples", window_samples, std::max(hop_samples, 2), kMostValues / bins());
  if (!(frequency_hz(bins() - 1) < kSampleRateHz / 2.0))
    throw std::invalid_argument(std::string(kConfig) + ": expected a highest frequency below 8000 Hz, found " +
                                std::to_string(frequency_hz(bins() - 1)));
}

std::vector<Filter> constant_q_filters(const ConstantQConfig& config) {
  std::vector<Filter> filters(static_cast<std::size_t>(config.bins()));
  std::vector<double> window;
  for (int k = 0; k < config.bins(); ++k) {
    const double hz = config.frequency_hz(k);
    const double whole = std::nearbyint(config.periods * kSampleRateHz / hz);
    const int length = whole < config.window_samples ? static_cast<int>(whole) : config.window_samples;
    window.resize(static_cast<std::size_t>(length));
    double sum = 0.0;
    for (int n = 0; n < length; ++n) {
      const double raised = std::sin(kPi * std::pow((n + 0.5) / length, kSkew));
      sum += window[static_cast<std::size_t>(n)] = raised * raised;
    }
    Filter& filter = filters[static_cast<std::size_t>(k)];
    for (int n = 0; n < length; ++n) {
      const double angle = 2.0 * kPi * hz / kSampleRateHz * (n + 1 - length);
      const double height = 2.0 / sum * window[static_cast<std::size_t>(n)];
      filter.cosine.push_back(static_cast<float>(height * std::cos(angle)));
      filter.sine.push_back(static_cast<float>(height * std::sin(angle)));
    }
  }
  return filters;
}

float log_power(float power) noexcept { return kScale * std::log(power + kFloor) + kOffset; }

}  // namespace rtengine
