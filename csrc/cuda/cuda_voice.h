// A slot on the GPU as a voice: its mu-law codes as audio. A chunk is a launch, with all company that is ready.
#pragma once
#include <memory>

#include "cuda/decoder.h"
#include "stream/deemphasis.h"
#include "stream/mu_law.h"
#include "stream/voice.h"

namespace rtcuda {

class CudaVoice final : public rtstream::Voice {
 public:
  explicit CudaVoice(std::shared_ptr<CudaDecoder> decoder)
      : mu_law_(decoder->config().mu_law == "published" ? rtstream::Encoding::kMuLawPublished
                                                        : rtstream::Encoding::kMuLawRounded),
        deemphasis_(decoder->config().emphasis),
        slot_(std::move(decoder), 0) {}
  int latent_size() const noexcept override { return slot_.decoder().config().latent_channels; }
  void reset(uint64_t seed) noexcept override {
    slot_.reset(seed);
    deemphasis_.reset();
  }
  void set_temperature(float temperature) noexcept override { slot_.set_temperature(temperature); }
  void begin_hop(const float* latent) noexcept override { slot_.begin_hop(latent); }
  void generate(float* samples, int count) noexcept override {
    const rtstream::VoiceChunk alone{this, samples, count};
    generate_together(&alone, 1);
  }
  const void* company() const noexcept override { return &slot_.decoder(); }
  int most_together() const noexcept override { return kMostTogether; }
  void generate_together(const rtstream::VoiceChunk* chunks, int count) noexcept override {
    uint8_t codes[kMostTogether][rtstream::kChunkSamples];
    uint8_t* rows[kMostTogether];
    CudaSlot* slots[kMostTogether];
    for (int i = 0; i < count; ++i) {
      rows[i] = codes[i];
      slots[i] = &static_cast<CudaVoice*>(chunks[i].voice)->slot_;  // the same decoder: a CudaVoice like this one
    }
    rtcuda::generate_together(slots, rows, count, chunks[0].count);
    for (int i = 0; i < count; ++i) {
      for (int t = 0; t < chunks[0].count; ++t) chunks[i].samples[t] = mu_law_.decode(codes[i][t]);
      static_cast<CudaVoice*>(chunks[i].voice)->deemphasis_.run(chunks[i].samples, chunks[0].count);
    }
  }

 private:
  rtstream::MuLaw mu_law_;
  rtstream::Deemphasis deemphasis_;
  CudaSlot slot_;
};

}  // namespace rtcuda
