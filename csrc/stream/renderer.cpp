#include "stream/renderer.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cpu/float_mode.h"

namespace rtstream {

Renderer::Renderer(int rate_hz, int hop_samples, std::vector<std::unique_ptr<Voice>> voices)
    : hop_samples_(hop_samples),
      voices_(std::move(voices)),
      resampler_(kNetworkRateHz, rate_hz),
      position_(hop_samples) {
  if (hop_samples < 1) throw std::invalid_argument("hop_samples: expected at least 1");
  if (voices_.empty()) throw std::invalid_argument("voices: expected at least one");
  latent_size_ = voices_.front()->latent_size();
  for (const auto& voice : voices_)
    if (voice->latent_size() != latent_size_)
      throw std::invalid_argument("voices: expected latents of " + std::to_string(latent_size_) + " in all, found " +
                                  std::to_string(voice->latent_size()));
}

void Renderer::reset(uint64_t seed) noexcept {
  seed_ = seed;
  for (auto& voice : voices_) voice->reset(seed);
  resampler_.reset();
  voice_ = fading_from_ = -1;
  position_ = hop_samples_;
  begun_ = 0;
}

void Renderer::set_temperature(float temperature) noexcept {
  for (auto& voice : voices_) voice->set_temperature(temperature);
}

void Renderer::begin_hop(const float* latent, int voice) noexcept {
  voice = std::clamp(voice, 0, static_cast<int>(voices_.size()) - 1);
  fading_from_ = -1;
  if (voice_ >= 0 && voice != voice_) {
    fading_from_ = voice_;
    voices_[fading_from_]->begin_hop(latent);
    voices_[voice]->reset(seed_);
  }
  voice_ = voice;
  voices_[voice_]->begin_hop(latent);
  position_ = 0;
}

int Renderer::render_chunk(float* out) noexcept {
  VoiceChunk chunks[2];
  const int count = begin_chunk(chunks);
  for (int i = 0; i < count; ++i) chunks[i].voice->generate(chunks[i].samples, chunks[i].count);
  return end_chunk(out);
}

int Renderer::begin_chunk(VoiceChunk* chunks) noexcept {
  begun_ = std::min(kChunkSamples, hop_samples_ - position_);
  if (begun_ <= 0) return 0;
  chunks[0] = {voices_[voice_].get(), samples_, begun_};
  if (fading_from_ < 0) return 1;
  chunks[1] = {voices_[fading_from_].get(), before_, begun_};
  return 2;
}

int Renderer::end_chunk(float* out) noexcept {
  if (begun_ <= 0) return 0;
  const rtengine::ScopedFloatMode float_mode;
  if (fading_from_ >= 0) {
    for (int i = 0; i < begun_; ++i) {
      const float weight = (static_cast<float>(position_ + i) + 0.5f) / static_cast<float>(hop_samples_);
      samples_[i] = before_[i] + weight * (samples_[i] - before_[i]);
    }
  }
  position_ += begun_;
  return resampler_.push(samples_, begun_, out);
}

uint64_t Renderer::pass_over_chunk() noexcept {
  const int count = std::min(kChunkSamples, hop_samples_ - position_);
  voices_[voice_]->pass_over(count);
  if (fading_from_ >= 0) voices_[fading_from_]->pass_over(count);
  position_ += count;
  return resampler_.pass_over(count);
}

int Renderer::settling_frames() const noexcept {
  return voices_.front()->stands_still() ? 0 : resampler_.max_output(2 * resampler_.half_length());
}

int Renderer::flush(float* out) noexcept {
  const rtengine::ScopedFloatMode float_mode;
  return resampler_.flush(out);
}

}  // namespace rtstream
