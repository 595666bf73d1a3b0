// Latents to host frames: voices generate 16 kHz samples in chunks of 16, resampled to the host's rate.
// Last stage of the server's path; used by the render threads and, synchronously, by `translate`.
#pragma once
#include <memory>
#include <vector>

#include "stream/intake.h"
#include "stream/resampler.h"
#include "stream/voice.h"

namespace rtstream {

class Renderer {
 public:
  // At least one voice, all with the same latent size. Throws std::invalid_argument.
  Renderer(int rate_hz, int hop_samples, std::vector<std::unique_ptr<Voice>> voices);

  int hop_samples() const noexcept { return hop_samples_; }
  int latent_size() const noexcept { return latent_size_; }
  int max_chunk_frames() const noexcept { return resampler_.max_output(kChunkSamples); }
  int max_flush_frames() const noexcept { return resampler_.max_output(Resampler::kMaxPush); }
  uint64_t frames_after_hops(uint64_t hops) const noexcept {
    return resampler_.outputs_after(hops * static_cast<uint64_t>(hop_samples_));
  }

  void reset(uint64_t seed) noexcept;  // every voice; back to the first voice asked for after it
  void set_temperature(float temperature) noexcept;
  // [render thread] The next hop. A voice other than the last one starts afresh and is faded in over this hop.
  void begin_hop(const float* latent, int voice) noexcept;
  bool hop_done() const noexcept { return position_ == hop_samples_; }
  uint64_t hop_position() const noexcept { return static_cast<uint64_t>(position_); }  // samples of the hop rendered
  // [render thread] One chunk of the hop; writes what became ready to `out` [max_chunk_frames], gives how many.
  int render_chunk(float* out) noexcept;
  // [render thread] The same in two halves, for who generates the chunks of several renderers together: what is to be
  // generated, one chunk or (while a voice fades) two, and what follows once it is. Nothing else in between.
  int begin_chunk(VoiceChunk* chunks) noexcept;
  int end_chunk(float* out) noexcept;
  // [render thread] What nobody will hear, a hop instead of begin_hop() and its chunks, or a chunk instead of
  // begin_chunk() and end_chunk(): gives how many frames are left out. For voices that generate time stands still.
  uint64_t pass_over_hop() noexcept { return resampler_.pass_over(hop_samples_); }
  uint64_t pass_over_chunk() noexcept;
  // Frames after it that still tell of the time before, where the voice's time has not stood still.
  int settling_frames() const noexcept;
  int flush(float* out) noexcept;  // as Resampler::flush

 private:
  int hop_samples_;
  int latent_size_ = 0;
  std::vector<std::unique_ptr<Voice>> voices_;
  Resampler resampler_;
  uint64_t seed_ = 0;
  int voice_ = -1, fading_from_ = -1;
  int position_;   // within the hop
  int begun_ = 0;  // samples of the chunk between begin_chunk and end_chunk
  float samples_[kChunkSamples], before_[kChunkSamples];
};

}  // namespace rtstream
