// A WaveNet slot as a voice: its mu-law codes as audio.
#pragma once
#include <memory>

#include "cpu/decoder.h"
#include "stream/deemphasis.h"
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
        deemphasis_(decoder->config().emphasis),
        slot_(std::move(decoder), 0) {}
  int latent_size() const noexcept override { return latent_size_; }
  void reset(uint64_t seed) noexcept override {
    slot_.reset(seed);
    deemphasis_.reset();
  }
  void set_temperature(float temperature) noexcept override { slot_.set_temperature(temperature); }
  void begin_hop(const float* latent) noexcept override { slot_.begin_hop(latent); }
  void generate(float* samples, int count) noexcept override {
    uint8_t codes[kChunkSamples];
    slot_.generate(codes, count);
    play(codes, samples, count);
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
      static_cast<ModelVoice*>(chunks[i].voice)->play(codes[i], chunks[i].samples, chunks[0].count);
  }

 private:
  void play(const uint8_t* codes, float* samples, int count) noexcept {
    for (int i = 0; i < count; ++i) samples[i] = mu_law_.decode(codes[i]);
    deemphasis_.run(samples, count);
  }

  int latent_size_;
  MuLaw mu_law_;
  Deemphasis deemphasis_;
  rtengine::Slot slot_;
};

}  // namespace rtstream
