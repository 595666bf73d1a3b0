// The architecture of one WaveNet decoder, as it stands in a model file. Twin of rtserver.model_config.DecoderConfig.
#pragma once

#include <cstdint>
#include <string>

namespace rtengine {

inline constexpr int kClasses = 256;         // mu-law codes
inline constexpr int kChunkSamples = 16;     // samples whose past taps are computed at once, counted from stream start
inline constexpr int kMaxLayersABlock = 20;  // a dilation of 2^19 samples is half a minute: beyond is a mistake
inline constexpr int kMaxLayers = 1024;
inline constexpr int kMaxChannels = 4096;
inline constexpr int kMaxHopSamples = 1 << 20;
inline constexpr double kMaxEmphasis = 0.95;

struct DecoderConfig {
  int blocks = 4;
  int layers = 10;  // a block
  int residual_channels = 128;
  int skip_channels = 128;
  int kernel_size = 2;
  int classes = kClasses;
  int latent_channels = 16;
  int hop_samples = 160;
  int prediction_order = 0;  // of the linear prediction whose error it says (code_history.h), in samples; 0: none
  std::string mu_law = "rounded";
  double emphasis = 0.0;  // of what it predicts; whoever plays its codes takes it back (stream/deemphasis.h)

  int total_layers() const { return blocks * layers; }
  int dilation(int layer) const { return 1 << (layer % layers); }

  // Throws std::invalid_argument naming the field, what was expected and what was found.
  void validate() const;
};

}  // namespace rtengine
