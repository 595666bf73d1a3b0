#include "stream/session.h"

#include <algorithm>
#include <stdexcept>

#include "rtbridge/atomics.h"

namespace rtstream {

using rtbridge::load_acquire;
using rtbridge::load_relaxed;
using rtbridge::monotonic_ns;
using rtbridge::store_relaxed;
using rtbridge::store_release;

namespace {
constexpr uint32_t kPieceFrames = 256;
constexpr uint64_t kIdleNs = 20'000'000;  // also the heartbeat's period
constexpr size_t kLatentSlots = 16;
}  // namespace

namespace {
size_t most_hops(const SessionConfig& config, uint32_t rate_hz) {
  if (config.kind == Kind::kLoopback) return 1;
  const uint64_t samples = uint64_t{kPieceFrames} * kNetworkRateHz / rate_hz + 2;
  return samples / static_cast<uint64_t>(config.hop_samples) + 1;
}
}  // namespace

Session::Session(const SessionConfig& config, std::shared_ptr<rtbridge::Segment> segment,
                 std::vector<std::unique_ptr<Voice>> voices, rtbridge::LocalWake* hops_wake, Stand stand)
    : config_(config),
      segment_(std::move(segment)),
      header_(segment_->header()),
      geometry_(segment_->geometry()),
      input_(segment_->input()),
      output_(segment_->output()),
      most_hops_(most_hops(config, geometry_.sample_rate_hz)),
      hops_(4 * most_hops_ + 8, static_cast<size_t>(config.hop_samples)),
      latents_(kLatentSlots, static_cast<size_t>(voices.empty() ? config.hop_samples : voices.front()->latent_size())),
      hops_wake_(hops_wake),
      stand_(stand) {
  const int rate = static_cast<int>(geometry_.sample_rate_hz);
  piece_.resize(size_t{kPieceFrames} * geometry_.channels);
  if (config.kind != Kind::kLoopback) {
    if (config.kind == Kind::kIdentity16k) {
      voices.clear();
      voices.push_back(std::make_unique<IdentityVoice>(config.hop_samples));
    }
    intake_ = std::make_unique<Intake>(rate, static_cast<int>(geometry_.channels), config.hop_samples,
                                       config.kind == Kind::kIdentity16k ? Encoding::kLinear : config.encoding);
    renderer_ = std::make_unique<Renderer>(rate, config.hop_samples, std::move(voices));
    chunk_frames_.resize(static_cast<size_t>(renderer_->max_chunk_frames()));
    frames_.resize(chunk_frames_.size() * geometry_.channels);
  }
  store_relaxed(header_.seed, config.seed);
  store_release(header_.server_heartbeat_ns, monotonic_ns());

  if (renderer_) {
    if (!stand_.live->add(this)) throw std::invalid_argument("sessions: expected a free seat, found none");
    if (!stand_.bounces->add(this)) {
      stand_.live->remove(this);
      throw std::invalid_argument("sessions: expected a free seat, found none");
    }
  }
  intake_thread_ = std::thread([this] { run_intake(); });
}

Session::~Session() {
  store_release(header_.closed_by_server, 1u);
  stop_.store(true);
  segment_->server_wake().notify();
  stopped_wake_.notify();
  if (renderer_) {
    stand_.live->remove(this);
    stand_.bounces->remove(this);
  }
  intake_thread_.join();
  segment_->client_wake().notify();
  segment_->unlink();
}

// --- intake thread ---

void Session::run_intake() noexcept {
  const AudioThread here(Role::kIntake, config_.id, config_.realtime);
  rtbridge::Wake wake = segment_->server_wake();
  while (!stopping()) {
    if (step_intake()) continue;
    const uint32_t token = wake.prepare();
    if (stopping() || step_intake()) {
      wake.cancel();
      continue;
    }
    wake.wait(token, kIdleNs);
  }
}

bool Session::step_intake() noexcept {
  store_release(header_.server_heartbeat_ns, monotonic_ns());
  const uint32_t asked = load_acquire(header_.epoch_requested);
  if (asked != epoch_.load(std::memory_order_relaxed)) {
    begin_epoch(asked);
    return true;
  }
  return running_ ? take_input() : start_stream();
}

// Handshake, step 2: nothing of the old epoch is read or written any more once epoch_ready says so.
void Session::begin_epoch(uint32_t epoch) noexcept {
  running_ = false;
  epoch_.store(epoch, std::memory_order_release);  // queued hops and latents are stale from here on
  if (renderer_) {
    render_epoch_asked_.store(epoch, std::memory_order_release);
    wake_render();
    while (render_epoch_.load(std::memory_order_acquire) != epoch && !stopping()) {
      const uint32_t token = stopped_wake_.prepare();
      if (render_epoch_.load(std::memory_order_acquire) == epoch || stopping()) {
        stopped_wake_.cancel();
        break;
      }
      stopped_wake_.wait(token, kIdleNs);
      store_release(header_.server_heartbeat_ns, monotonic_ns());
    }
  }
  store_release(header_.epoch_ready, epoch);
  segment_->client_wake().notify();
}

// Handshake, step 4.
bool Session::start_stream() noexcept {
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed);
  if (epoch == 0 || load_acquire(header_.epoch_live) != epoch ||
      load_relaxed(header_.epoch_running) == epoch)  // the last: this epoch was broken off
    return false;
  const uint64_t start = load_relaxed(header_.epoch_start_frame);
  epoch_start_.store(start, std::memory_order_release);
  read_frame_ = start;
  hop_index_ = 0;
  if (intake_) {
    read_intake_parameters();
    intake_->reset();
  } else {
    write_frame_ = start;
  }
  store_relaxed(header_.input_read_frame, start);
  store_relaxed(header_.output_write_frame, start);
  store_relaxed(header_.encoded_frame, start);
  store_release(header_.epoch_running, epoch);
  running_ = true;
  segment_->client_wake().notify();
  return true;
}

void Session::read_intake_parameters() noexcept {
  const float gain = load_relaxed(header_.input_gain_db), gate = load_relaxed(header_.gate_db);
  if (gain != input_gain_db_) intake_->set_input_gain_db(input_gain_db_ = gain);
  if (gate != gate_db_) intake_->set_gate_db(gate_db_ = gate);
}

bool Session::take_input() noexcept {
  const uint64_t available = load_acquire(header_.input_write_frame) - read_frame_;
  if (available == 0) return false;
  if (available > input_.ring_frames()) {  // a client that breaks the rules gets silence until it starts anew
    running_ = false;
    return false;
  }
  const uint32_t frames = static_cast<uint32_t>(std::min<uint64_t>(available, kPieceFrames));
  if (!intake_) return copy_loopback(frames);

  if (hops_.capacity() - hops_.size() < most_hops_) {  // the input ring fills; the client will see an overrun
    hops_full_.store(true, std::memory_order_seq_cst);
    if (hops_.capacity() - hops_.size() < most_hops_) return false;
  }
  hops_full_.store(false, std::memory_order_relaxed);

  input_.read(read_frame_, piece_.data(), frames);
  read_frame_ += frames;
  read_intake_parameters();
  const Playing playing{load_relaxed(header_.temperature), load_relaxed(header_.decoder)};
  intake_->push(piece_.data(), static_cast<int>(frames));
  const bool offline = load_relaxed(header_.offline) != 0;
  bool any = false;
  while (float* slot = hops_.claim()) {
    if (!intake_->pop_hop(slot)) break;
    const uint64_t margin_ns = uint64_t{geometry_.latency.margin} * 1'000'000'000u / geometry_.sample_rate_hz;
    // Offline hops come after all others, among themselves in order of arrival.
    const uint64_t deadline = monotonic_ns() + (offline ? uint64_t{1} << 62 : margin_ns);
    hops_.publish({epoch_.load(std::memory_order_relaxed), hop_index_++, deadline, playing});
    any = true;
  }
  // Only now: a client that bounces changes no parameter before this block has met those it came with.
  store_release(header_.input_read_frame, read_frame_);
  if (offline) segment_->client_wake().notify();
  if (any) hops_wake_->notify();
  return true;
}

bool Session::copy_loopback(uint32_t frames) noexcept {
  const uint64_t held = write_frame_ - std::min(write_frame_, load_acquire(header_.output_read_frame));
  if (held + frames > output_.ring_frames()) return false;
  input_.read(read_frame_, piece_.data(), frames);
  read_frame_ += frames;
  store_release(header_.input_read_frame, read_frame_);
  output_.write(write_frame_, piece_.data(), frames);
  store_relaxed(header_.encoded_frame, read_frame_);
  publish_output(write_frame_ += frames);
  return true;
}

// --- encoder thread ---

const float* Session::front_hop(HopTag* tag) noexcept {
  const uint32_t epoch = epoch_.load(std::memory_order_acquire);
  const float* hop = hops_.front(tag);
  while (hop && tag->epoch != epoch) {
    hops_.pop();
    hop = hops_.front(tag);
  }
  // A hop is handed out only when its latent will find room: lookahead encoders owe at most one a hop.
  if (hop && latents_.size() + 1 > latents_.capacity()) return nullptr;
  return hop;
}

void Session::take_hop(const HopTag& tag) noexcept {
  hops_.pop();
  taken_ns_ = monotonic_ns();
  taken_deadline_ns_ = tag.deadline_ns;
  taken_playing_ = tag.playing;
  if (tag.epoch != encoder_epoch_) {
    encoder_epoch_ = tag.epoch;
    latents_pushed_ = 0;
  }
  if (hops_full_.load(std::memory_order_seq_cst)) segment_->server_wake().notify();
}

bool Session::push_latent(uint32_t epoch, const float* latent) noexcept {
  if (!renderer_ || epoch != epoch_.load(std::memory_order_acquire) || epoch != encoder_epoch_) return false;
  float* slot = latents_.claim();
  if (!slot) return false;
  std::copy_n(latent, renderer_->latent_size(), slot);
  latents_.publish({epoch, taken_deadline_ns_, taken_playing_});
  ++latents_pushed_;
  store_release(header_.encoded_frame,
                epoch_start_.load(std::memory_order_acquire) + renderer_->frames_after_hops(latents_pushed_));
  rtbridge::add(header_.encoder_ns, monotonic_ns() - taken_ns_);
  wake_render();
  return true;
}

// --- render thread: of one of its two ensembles at a time ---

Player::State Session::prepare() noexcept {
  const uint32_t asked = render_epoch_asked_.load(std::memory_order_acquire);
  if (asked != render_epoch_.load(std::memory_order_relaxed)) {
    chunk_ = {};
    frames_held_ = 0;
    if (in_hop_) end_hop();
    renderer_->reset(load_relaxed(header_.seed));
    stream_started_ = false;
    catch_up_frame_ = gap_end_ = 0;
    misses_seen_ = load_relaxed(header_.misses);
    published_frame_ = write_frame_;  // what was held back is of the old epoch
    render_epoch_.store(asked, std::memory_order_release);
    stopped_wake_.notify();
  }
  if (chunk_.left > 0) return State::kReady;
  if (frames_held_ > 0 && !write_frames()) return State::kHeldUp;
  if (in_hop_ && pass_over_chunks()) end_hop();
  while (!in_hop_) {
    if (change_ensemble()) return State::kIdle;
    LatentTag tag;
    const float* latent = latents_.front(&tag);
    if (!latent) return publish_rendered() ? State::kIdle : State::kHeldUp;
    if (tag.epoch == asked && !pass_over_hop()) {
      hop_deadline_ns_ = tag.deadline_ns;
      begin_hop(latent, tag.playing);
      if (pass_over_chunks()) end_hop();
    } else {
      latents_.pop();
      hops_wake_->notify();
    }
  }
  chunk_began_ns_ = monotonic_ns();
  chunk_.left = renderer_->begin_chunk(chunk_.voices);
  chunk_.deadline_ns = hop_deadline_ns_ + renderer_->hop_position() * (1'000'000'000u / kNetworkRateHz);
  return State::kReady;
}

// Between two hops: whoever has the turn gives it away, and touches nothing of this session from then on.
bool Session::change_ensemble() noexcept {
  const bool offline = load_relaxed(header_.offline) != 0;
  if (offline == bouncing_.load(std::memory_order_relaxed)) return false;
  bouncing_.store(offline, std::memory_order_seq_cst);
  wake_render();
  return true;
}

// The client has missed blocks, after a stall. To render all that is late would make what follows late too, for as long
// as a decoder with little to spare needs to catch up.
void Session::look_back() noexcept {
  if (!stream_started_ || bouncing()) return;
  const uint64_t read = load_acquire(header_.output_read_frame), misses = load_relaxed(header_.misses);
  if (read <= epoch_start_.load(std::memory_order_relaxed) || chunk_ns_ <= 0.0) return;  // nothing has been due yet
  if (write_frame_ >= read && misses == misses_seen_) return;
  if (write_frame_ < catch_up_frame_ && read < catch_up_frame_) return;
  const Asking asking = next_block();
  const double need = asking.frames + header_.latency.fade;
  const double ahead = static_cast<double>(write_frame_) - static_cast<double>(read);
  if (ahead >= need) {
    misses_seen_ = misses;
    return;
  }
  const double speed = 1e9 * kChunkSamples / kNetworkRateHz / chunk_ns_;
  const int blocks = blocks_to_give_up(asking, ahead, need, speed, header_.latency.hop);
  if (blocks < 0) return;
  misses_seen_ = misses;
  catch_up_frame_ = read + static_cast<uint64_t>(blocks * asking.frames);
}

// If the client goes on as before.
Asking Session::next_block() const noexcept {
  const double most = geometry_.max_block_frames;
  const uint64_t submitted = load_acquire(header_.blocks_submitted);
  if (submitted < 2) return {most, most / 2};
  const rt_stamp& last = header_.stamps[(submitted - 1) % RT_STAMPS];
  const rt_stamp& before = header_.stamps[(submitted - 2) % RT_STAMPS];
  const double frames =
      static_cast<double>(load_acquire(last.end_frame)) - static_cast<double>(load_acquire(before.end_frame));
  if (!(frames >= 1.0 && frames <= most)) return {most, most / 2};
  const double ago =
      (static_cast<double>(monotonic_ns()) - static_cast<double>(load_relaxed(last.submitted_ns))) * 1e-9;
  return {frames, std::clamp(frames - ago * geometry_.sample_rate_hz, 0.0, frames)};
}

bool Session::pass_over_hop() noexcept {
  look_back();
  if (write_frame_ + header_.latency.hop > catch_up_frame_) return false;
  passed_over(renderer_->pass_over_hop());
  return true;
}

bool Session::pass_over_chunks() noexcept {
  look_back();
  const auto most = static_cast<uint64_t>(renderer_->max_chunk_frames());
  while (write_frame_ + most <= catch_up_frame_ && !renderer_->hop_done()) passed_over(renderer_->pass_over_chunk());
  return renderer_->hop_done();
}

void Session::passed_over(uint64_t frames) noexcept {
  write_frame_ += frames;
  hop_whole_ = false;
  gap_end_ = write_frame_ + static_cast<uint64_t>(renderer_->settling_frames());
}

void Session::begin_hop(const float* latent, const Playing& playing) noexcept {
  const uint64_t began = monotonic_ns();
  if (!stream_started_) {
    write_frame_ = published_frame_ = epoch_start_.load(std::memory_order_acquire);
    stream_started_ = true;
  }
  renderer_->set_temperature(playing.temperature);
  renderer_->begin_hop(latent, static_cast<int>(std::min<uint32_t>(playing.decoder, 1u << 20)));
  in_hop_ = true;
  hop_whole_ = true;
  hop_ns_ = monotonic_ns() - began;
}

void Session::finish_chunk() noexcept {
  const uint64_t began = monotonic_ns();
  frames_held_ = static_cast<uint32_t>(renderer_->end_chunk(chunk_frames_.data()));
  const uint64_t now = monotonic_ns();
  hop_ns_ += now - began + chunk_.spent_ns;
  chunk_.spent_ns = 0;
  const auto took = static_cast<double>(now - chunk_began_ns_);
  chunk_ns_ = chunk_ns_ == 0.0 ? took : std::clamp(took, 0.875 * chunk_ns_, 1.125 * chunk_ns_);
  if (frames_held_ > 0) write_frames();
  if (!renderer_->hop_done()) return;
  if (hop_whole_) {  // a part would make hops look cheaper than they are
    rtbridge::add(header_.hops, uint64_t{1});
    rtbridge::add(header_.decoder_ns, hop_ns_);
  }
  end_hop();
}

void Session::end_hop() noexcept {
  in_hop_ = false;
  latents_.pop();
  hops_wake_->notify();  // there is room for another latent
}

// The client reads further whatever happens, so room is there at once unless the client has died.
bool Session::write_frames() noexcept {
  if (write_frame_ - std::min(write_frame_, load_acquire(header_.output_read_frame)) + frames_held_ >
      output_.ring_frames())
    return false;
  const float* interleaved = chunk_frames_.data();
  if (geometry_.channels == 2) {
    for (uint32_t i = 0; i < frames_held_; ++i) frames_[2 * i] = frames_[2 * i + 1] = chunk_frames_[i];
    interleaved = frames_.data();
  }
  output_.write(write_frame_, interleaved, frames_held_);
  write_frame_ += frames_held_;
  frames_held_ = 0;
  publish_rendered();
  return true;
}

// False: not yet, because the client is still reading the gap.
bool Session::publish_rendered() noexcept {
  if (published_frame_ == write_frame_) return true;
  if (load_acquire(header_.output_read_frame) < gap_end_ && !bouncing()) return false;
  publish_output(published_frame_ = write_frame_);
  return true;
}

// [render thread, or intake thread in loopback]
void Session::publish_output(uint64_t end_frame) noexcept {
  store_release(header_.output_write_frame, end_frame);
  segment_->client_wake().notify();
  const uint64_t submitted = load_acquire(header_.blocks_submitted);
  if (submitted - stamps_published_ > RT_STAMPS)
    stamps_published_ = submitted - std::min<uint64_t>(submitted, RT_STAMPS);
  const uint64_t now = stamps_published_ < submitted ? monotonic_ns() : 0;
  while (stamps_published_ < submitted) {
    rt_stamp& stamp = header_.stamps[stamps_published_ % RT_STAMPS];
    if (load_acquire(stamp.end_frame) > end_frame) break;
    store_release(stamp.published_ns, now);
    ++stamps_published_;
  }
}

}  // namespace rtstream
