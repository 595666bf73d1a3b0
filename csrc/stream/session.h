// The server's side of one client: native threads around the encoder.
//
//   intake thread   input ring -> resample, gate, mu-law -> hop ring      one a session
//   encoder thread  hop ring -> latent -> latent ring                     one (Worker::wait_hop, Worker::push_latent)
//   render thread   latent ring -> voice, resample -> output ring         one a decoder core (Ensemble)
//
// `loopback` copies input to output in the intake thread and has no others. The epoch handshake of layout.h is the
// intake thread's; while it answers, rendering has been stopped at a chunk boundary, and the render thread says so.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rtbridge/segment.h"
#include "stream/catch_up.h"
#include "stream/ensemble.h"
#include "stream/intake.h"
#include "stream/payload_ring.h"
#include "stream/renderer.h"

namespace rtstream {

enum class Kind { kLoopback, kIdentity16k, kModel };

struct SessionConfig {
  int id = 0;
  Kind kind = Kind::kLoopback;
  int hop_samples = 160;
  int lookahead_samples = 0;
  Encoding encoding = Encoding::kMuLawRounded;
  uint64_t seed = 0;
  bool realtime = true;    // ask for SCHED_FIFO
  int render_thread = -1;  // of those of the worker, counted from 0; negative: the one with the fewest sessions
};

// How a hop is to be played: as the parameters were when its last frame came in. So what a host automates is heard with
// the audio that it was automated for, and a bounce does not depend on when the render thread gets to it.
struct Playing {
  float temperature = 1.0f;
  uint32_t decoder = 0;
};

struct HopTag {
  uint32_t epoch = 0;
  int32_t hop_index = 0;
  uint64_t deadline_ns = 0;  // when its output starts to be late; offline: after every other
  Playing playing{};
};

struct LatentTag {
  uint32_t epoch = 0;
  uint64_t deadline_ns = 0;  // of the hop that completed it
  Playing playing{};         // of that hop
};

class Session final : private Player {
 public:
  // voices: for kModel one or more, for kIdentity16k none. hops_wake is notified for the encoder thread.
  // Throws std::invalid_argument.
  Session(const SessionConfig& config, std::shared_ptr<rtbridge::Segment> segment,
          std::vector<std::unique_ptr<Voice>> voices, rtbridge::LocalWake* hops_wake, Stand stand);
  ~Session() override;  // [control thread] closes the segment, leaves its ensembles, joins its thread

  const SessionConfig& config() const noexcept { return config_; }
  const std::shared_ptr<rtbridge::Segment>& segment() const noexcept { return segment_; }
  int latent_size() const noexcept { return renderer_ ? renderer_->latent_size() : 0; }
  uint32_t epoch() const noexcept { return epoch_.load(std::memory_order_acquire); }

  // [encoder thread] The oldest hop of this epoch that there is room to render, or null; then take_hop().
  const float* front_hop(HopTag* tag) noexcept;
  void take_hop(const HopTag& tag) noexcept;
  // [encoder thread] latent [latent_size]. False: the epoch is gone, or the ring is full.
  bool push_latent(uint32_t epoch, const float* latent) noexcept;

 private:
  void run_intake() noexcept;
  bool step_intake() noexcept;  // true: something was done
  void begin_epoch(uint32_t epoch) noexcept;
  bool start_stream() noexcept;
  bool take_input() noexcept;
  bool copy_loopback(uint32_t frames) noexcept;
  void read_intake_parameters() noexcept;

  // Player, on the thread of the ensemble whose turn it is.
  bool bouncing() const noexcept override { return bouncing_.load(std::memory_order_acquire); }
  State prepare() noexcept override;
  void finish_chunk() noexcept override;
  bool change_ensemble() noexcept;
  void begin_hop(const float* latent, const Playing& playing) noexcept;
  void end_hop() noexcept;
  Asking next_block() const noexcept;
  void look_back() noexcept;         // decides how much is to be passed over
  bool pass_over_hop() noexcept;     // false: some of it may still be heard
  bool pass_over_chunks() noexcept;  // true: nothing of the hop is left
  void passed_over(uint64_t frames) noexcept;
  bool write_frames() noexcept;  // false: no room
  bool publish_rendered() noexcept;
  void wake_render() noexcept { (bouncing() ? stand_.bounces : stand_.live)->wake(); }
  void publish_output(uint64_t end_frame) noexcept;

  bool stopping() const noexcept { return stop_.load(std::memory_order_relaxed); }

  const SessionConfig config_;
  const std::shared_ptr<rtbridge::Segment> segment_;
  rt_header& header_;
  const rtbridge::Geometry geometry_;
  rtbridge::RingView input_, output_;

  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> epoch_{0};        // intake writes; all read: what is tagged otherwise is stale
  std::atomic<uint64_t> epoch_start_{0};  // intake writes before the epoch's first hop
  std::atomic<bool> hops_full_{false};    // intake waits for the encoder thread

  // Intake thread.
  std::unique_ptr<Intake> intake_;
  bool running_ = false;
  uint64_t read_frame_ = 0;
  int32_t hop_index_ = 0;
  size_t most_hops_ = 1;  // that one piece of input can complete
  std::vector<float> piece_;
  float input_gain_db_ = 0.0f, gate_db_ = kGateOffDb;

  PayloadRing<HopTag> hops_;        // intake thread -> encoder thread
  PayloadRing<LatentTag> latents_;  // encoder thread -> render thread
  rtbridge::LocalWake* hops_wake_;  // the encoder thread sleeps on it
  const Stand stand_;
  rtbridge::LocalWake stopped_wake_;  // the intake thread sleeps on it in begin_epoch

  // Encoder thread.
  uint32_t encoder_epoch_ = 0;
  uint64_t latents_pushed_ = 0;
  uint64_t taken_ns_ = 0, taken_deadline_ns_ = 0;
  Playing taken_playing_;

  // Render thread.
  std::atomic<bool> bouncing_{false};  // which of its two ensembles has the turn, and so everything below
  std::unique_ptr<Renderer> renderer_;
  std::atomic<uint32_t> render_epoch_asked_{0};  // intake writes
  std::atomic<uint32_t> render_epoch_{0};        // render writes: it has dropped everything older
  bool stream_started_ = false;
  uint64_t write_frame_ = 0;
  uint64_t stamps_published_ = 0;  // the publishing thread's: render, or intake in loopback
  bool in_hop_ = false;
  uint64_t hop_deadline_ns_ = 0;
  uint64_t hop_ns_ = 0;       // of render time, so far
  bool hop_whole_ = true;     // nothing of it has been passed over
  uint32_t frames_held_ = 0;  // of chunk_frames_, rendered but not yet written
  uint64_t chunk_began_ns_ = 0;
  double chunk_ns_ = 0.0;  // what a chunk takes, with its wait for others; one stall alone hardly changes it
  // After a stall: chunks are passed over up to catch_up_frame_, and what is rendered from gap_end_ on is published
  // once the client has read up to there, so that nobody takes the gap for sound.
  uint64_t catch_up_frame_ = 0, gap_end_ = 0;
  uint64_t misses_seen_ = 0;  // the client's count when it was last in time, or last passed over for
  uint64_t published_frame_ = 0;
  std::vector<float> chunk_frames_, frames_;

  std::thread intake_thread_;
};

}  // namespace rtstream
