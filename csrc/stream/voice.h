// What turns latents into samples at 16 kHz: a WaveNet slot, or (identity16k) the hop itself.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>

namespace rtstream {

constexpr int kChunkSamples = 16;  // samples are generated in chunks of this many, counted from the start of each hop

class Voice;

// A stretch of one voice's stream, to be generated: samples [count].
struct VoiceChunk {
  Voice* voice = nullptr;
  float* samples = nullptr;
  int count = 0;
};

class Voice {
 public:
  static constexpr int kMostTogether = 64;  // that any voice can be generated with

  virtual ~Voice() = default;
  virtual int latent_size() const noexcept = 0;
  virtual void reset(uint64_t seed) noexcept = 0;
  virtual void set_temperature(float temperature) noexcept = 0;
  virtual void begin_hop(const float* latent) noexcept = 0;
  virtual void generate(float* samples, int count) noexcept = 0;  // count <= kChunkSamples, within the hop
  // The next `count` samples of the hop are never to be heard. What generates from its own past makes them later.
  virtual void pass_over([[maybe_unused]] int count) noexcept {}
  virtual bool stands_still() const noexcept { return true; }  // whether it does

  // What voices must have in common to be generated together; null: this one has no company.
  virtual const void* company() const noexcept { return nullptr; }
  virtual int most_together() const noexcept { return 8; }  // at most kMostTogether
  // [render thread] Chunks of equally many samples, of different voices of this one's company, at most most_together():
  // the same bits as generate() of one after the other, in less time.
  virtual void generate_together(const VoiceChunk* chunks, int count) noexcept {
    for (int i = 0; i < count; ++i) chunks[i].voice->generate(chunks[i].samples, chunks[i].count);
  }
};

// The latent is the hop of audio.
class IdentityVoice final : public Voice {
 public:
  explicit IdentityVoice(int hop_samples) : hop_samples_(hop_samples), hop_(new float[hop_samples]()) {}
  int latent_size() const noexcept override { return hop_samples_; }
  void reset(uint64_t) noexcept override { position_ = 0; }
  void set_temperature(float) noexcept override {}
  void begin_hop(const float* latent) noexcept override {
    std::memcpy(hop_.get(), latent, static_cast<size_t>(hop_samples_) * sizeof(float));
    position_ = 0;
  }
  void generate(float* samples, int count) noexcept override {
    std::memcpy(samples, hop_.get() + position_, static_cast<size_t>(count) * sizeof(float));
    position_ += count;
  }
  void pass_over(int count) noexcept override { position_ += count; }
  bool stands_still() const noexcept override { return false; }

 private:
  int hop_samples_;
  std::unique_ptr<float[]> hop_;
  int position_ = 0;
};

}  // namespace rtstream
