// A WaveNet slot as a voice: its mu-law codes as audio.
#pragma once
#include <memory>

#include "cpu/decoder.h"
#include "stream/mu_law.h"
#include "stream/voice.h"

namespace rtstream {

static_assert(kChunkSamples == rtengine::kChunkSamples);
static_assert(Voice::kMostTogether >= rtengine::kMostTogether);

class ModelVoice final : public Voice {
 public:
  explicit ModelVoice(std::shared_ptr<const rtengine::Decoder> decoder)
      : latent_size_(decoder->config().latent_channels),
        mu_law_(decoder->config().mu_law == "published" ? Encoding::kMuLawPublished : Encoding::kMuLawRounded),
        slot_(std::move(decoder), 0) {}
  int latent_size() const noexcept override { return latent_size_; }
  void reset(uint64_t seed) noexcept override { slot_.reset(seed); }
  void set_temperature(float temperature) noexcept override { slot_.set_temperature(temperature); }
  void begin_hop(const float* latent) noexcept override { slot_.begin_hop(latent); }
  void generate(float* samples, int count) noexcept override {
    uint8_t codes[kChunkSamples];
    slot_.generate(codes, count);
    for (int i = 0; i < count; ++i) samples[i] = mu_law_.decode(codes[i]);
  }
  const void* company() const noexcept override { return &slot_.decoder(); }
  int most_together() const noexcept override { return rtengine::kMostTogether; }
  void generate_together(const VoiceChunk* chunks, int count) noexcept override {
    uint8_t codes[rtengine::kMostTogether][kChunkSamples];
    uint8_t* rows[rtengine::kMostTogether];
    rtengine::Slot* slots[rtengine::kMostTogether];
    for (int i = 0; i < count; ++i) {
      rows[i] = codes[i];
      slots[i] = &static_cast<ModelVoice*>(chunks[i].voice)->slot_;  // the same decoder: a ModelVoice like this one
    }
    rtengine::generate_together(slots, rows, count, chunks[0].count);
    for (int i = 0; i < count; ++i)
      for (int t = 0; t < chunks[0].count; ++t) chunks[i].samples[t] = mu_law_.decode(codes[i][t]);
  }

 private:
  int latent_size_;
  MuLaw mu_law_;
  rtengine::Slot slot_;
};

}  // namespace rtstream
