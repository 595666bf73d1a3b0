#include "stream/remote_session.h"

#include <algorithm>
#include <stdexcept>

#include "rtbridge/atomics.h"
#include "rtbridge/remote_link.h"
#include "stream/audio_thread.h"

namespace rtstream {

using rtbridge::AudioKind;
using rtbridge::AudioMessage;
using rtbridge::JitterBuffer;
using rtbridge::kPacketFramesMax;
using rtbridge::load_acquire;
using rtbridge::Refused;
using rtbridge::store_relaxed;
using rtbridge::store_release;

namespace {
constexpr uint64_t kIdleNs = 100'000'000;
}  // namespace

RemoteSession::RemoteSession(uint32_t session, std::shared_ptr<rtbridge::Segment> segment, uint32_t jitter_frames,
                             const std::optional<rtbridge::HmacSha256>& key, int64_t nonce_floor,
                             rtbridge::UdpSocket& socket, bool realtime)
    : session_(session),
      segment_(std::move(segment)),
      header_(segment_->header()),
      geometry_(segment_->geometry()),
      key_(key),
      socket_(socket),
      window_(nonce_floor),
      jitter_(rtbridge::packet_window_frames(geometry_, jitter_frames), rtbridge::hole_wait_frames(jitter_frames),
              geometry_.sample_rate_hz / 1000),
      input_piece_(size_t{kPacketFramesMax} * geometry_.channels),
      output_piece_(size_t{kPacketFramesMax} * geometry_.channels),
      mono_out_(kPacketFramesMax) {
  store_release(header_.client_pid, rtbridge::current_pid());
  private_epoch_ = load_acquire(header_.epoch_requested);
  sending_ = std::thread([this, realtime] {
    const AudioThread here(Role::kSend, static_cast<int>(session_), realtime);
    run_sending();
  });
}

RemoteSession::~RemoteSession() {
  stop_.store(true);
  segment_->client_wake().notify();
  sending_.join();
  store_release(header_.closed_by_client, 1u);
  segment_->server_wake().notify();
}

int64_t RemoteSession::highest_nonce() const noexcept {
  const std::lock_guard lock(mutex_);
  return window_.highest();
}

// --- receiving thread (the hub's) ---

Refused RemoteSession::take(const uint8_t* datagram, size_t bytes, const AudioMessage& message, bool sealed,
                            const float* audio, const rtbridge::Endpoint& from) noexcept {
  if (message.kind != AudioKind::kEpoch && message.kind != AudioKind::kAudio) return Refused::kMisplaced;
  const std::lock_guard lock(mutex_);
  const int64_t newest = window_.highest();
  if (key_) {
    const Refused refused = rtbridge::check_seal(*key_, window_, datagram, bytes, sealed);
    if (refused != Refused::kNothing) {
      rtbridge::add(header_.packets_refused, uint64_t{1});
      return refused;
    }
  }
  if (!key_ || window_.highest() > newest) client_ = from;  // what was long under way doesn't move the client back
  store_release(header_.client_heartbeat_ns, rtbridge::monotonic_ns());
  if (message.kind == AudioKind::kEpoch)
    take_epoch(message.epoch, message.offline);
  else
    take_audio(message, audio);
  return Refused::kNothing;
}

void RemoteSession::take_epoch(uint32_t epoch, bool offline) noexcept {
  store_relaxed(header_.offline, offline ? 1u : 0u);
  // Only ever forward: a message of an epoch that is over may still be under way.
  if (epoch > wire_epoch_) {
    wire_epoch_ = epoch;
    concealed_before_ = jitter_.concealed();
    skipped_ = 0;
    ask(false);
  }
  reply_due_ = true;
  segment_->client_wake().notify();
}

// Handshake, step 1 (layout.h).
void RemoteSession::ask(bool restart) noexcept {
  restarting_ = restart;
  phase_ = Phase::kAsked;
  store_release(header_.epoch_requested, ++private_epoch_);
  segment_->server_wake().notify();
}

// Handshake, step 3.
void RemoteSession::go_live(uint64_t frame) noexcept {
  if (restarting_) skipped_ += frame - std::min(frame, input_end_);
  restarting_ = false;
  jitter_.reset(frame);
  epoch_start_ = input_end_ = output_sent_ = frame;
  store_relaxed(header_.input_write_frame, frame);
  store_relaxed(header_.output_read_frame, frame);
  store_relaxed(header_.epoch_start_frame, frame);
  store_release(header_.epoch_live, private_epoch_);
  phase_ = Phase::kRunning;
}

void RemoteSession::take_audio(const AudioMessage& message, const float* audio) noexcept {
  if (message.epoch != wire_epoch_ || phase_ == Phase::kAsked || phase_ == Phase::kIdle) return;
  if (phase_ == Phase::kReady) go_live(restarting_ ? message.frame : 0);
  if (jitter_.push(message.frame, audio, message.frames) == JitterBuffer::Push::kTooFar) return ask(true);
  submit();
  store_relaxed(header_.packets_lost, jitter_.lost());
  store_relaxed(header_.packets_late, jitter_.late());
  store_relaxed(header_.frames_concealed, jitter_.concealed());
}

void RemoteSession::submit() noexcept {
  float mono[kPacketFramesMax];
  bool any = false;
  for (;;) {
    const bool running = load_acquire(header_.epoch_running) == private_epoch_;
    const uint64_t read = running ? load_acquire(header_.input_read_frame) : epoch_start_;
    const uint64_t room = geometry_.ring_frames - std::min<uint64_t>(input_end_ - read, geometry_.ring_frames);
    const uint32_t frames = jitter_.pop(mono, static_cast<uint32_t>(std::min<uint64_t>(room, kPacketFramesMax)));
    if (frames == 0) break;
    const float* interleaved = mono;
    if (geometry_.channels == 2) {
      for (uint32_t i = 0; i < frames; ++i) input_piece_[2 * i] = input_piece_[2 * i + 1] = mono[i];
      interleaved = input_piece_.data();
    }
    segment_->input().write(input_end_, interleaved, frames);
    input_end_ += frames;
    store_release(header_.input_write_frame, input_end_);
    any = true;
  }
  if (any) segment_->server_wake().notify();
}

// --- sending thread ---

void RemoteSession::run_sending() noexcept {
  rtbridge::Wake wake = segment_->client_wake();
  while (!stop_.load()) {
    if (step_sending()) continue;
    const uint32_t token = wake.prepare();
    if (stop_.load() || step_sending()) {
      wake.cancel();
      continue;
    }
    wake.wait(token, kIdleNs);
  }
}

bool RemoteSession::step_sending() noexcept {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::kAsked && load_acquire(header_.epoch_ready) == private_epoch_) {
    phase_ = Phase::kReady;
    reply_due_ = reply_due_ || !restarting_;
  }
  if (reply_due_) {
    reply_due_ = false;
    AudioMessage message;
    message.kind = AudioKind::kEpochReply;
    message.epoch = phase_ == Phase::kAsked && !restarting_ ? 0 : wire_epoch_;  // 0: alive, not ready yet
    transmit(message, nullptr);
    return true;
  }
  if (phase_ != Phase::kRunning || load_acquire(header_.epoch_running) != private_epoch_) return false;
  const uint64_t end = load_acquire(header_.output_write_frame);
  if (end <= output_sent_) return false;
  const auto frames = static_cast<uint32_t>(std::min<uint64_t>(end - output_sent_, kPacketFramesMax));
  segment_->output().read(output_sent_, output_piece_.data(), frames);
  for (uint32_t i = 0; i < frames; ++i) mono_out_[i] = output_piece_[size_t{i} * geometry_.channels];
  AudioMessage message;
  message.kind = AudioKind::kAudioReply;
  message.epoch = wire_epoch_;
  message.frame = output_sent_;
  message.concealed =
      static_cast<uint32_t>(std::min<uint64_t>(jitter_.concealed() - concealed_before_ + skipped_, 0x7fffffff));
  message.frames = frames;
  transmit(message, mono_out_.data());
  output_sent_ += frames;
  store_release(header_.output_read_frame, output_sent_);
  return true;
}

void RemoteSession::transmit(const AudioMessage& content, const float* audio) noexcept {
  AudioMessage message = content;
  message.session = session_;
  uint8_t datagram[rtbridge::kDatagramBytesMax];
  size_t bytes = rtbridge::encode_audio(message, audio, key_.has_value(), datagram);
  if (key_) {
    rtbridge::put_seal(*key_, nonces_.next(rtbridge::unix_time_us()), datagram, bytes);
    bytes += rtbridge::kSealBytes;
  }
  if (socket_.send(datagram, bytes, client_)) sent_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace rtstream
