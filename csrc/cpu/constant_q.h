// The filter bank in front of an encoder that runs once a hop: magnitudes at pitches equally far apart, over windows
// that end with the newest sample. Twin of models/constant_q.py. K bins.
#pragma once

#include <vector>

namespace rtengine {

struct ConstantQConfig {
  int lowest_note = 33;  // MIDI pitch
  int octaves = 7;
  int bins_per_octave = 24;
  int periods = 24;  // of its frequency that a window holds, up to window_samples
  int window_samples = 2048;

  int bins() const { return octaves * bins_per_octave; }
  double frequency_hz(int bin) const;

  // Throws std::invalid_argument naming the field, what was expected and what was found.
  void validate(int hop_samples) const;
};

// A filter without the zeros before its window: cosine and sine [samples] each, the newest sample last.
struct Filter {
  std::vector<float> cosine, sine;
};

// [K], lowest first: the longest windows first. Computed in double, as the network was trained with them.
std::vector<Filter> constant_q_filters(const ConstantQConfig& config);

// What the convolutions hear of a filter's squared magnitude.
float log_power(float power) noexcept;

}  // namespace rtengine
