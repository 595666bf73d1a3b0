#include "rtbridge/remote_link.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "rtbridge/atomics.h"
#include "rtbridge/realtime.h"

namespace rtbridge {
namespace {

constexpr uint64_t kAskAgainNs = 20'000'000;    // an epoch not yet answered
constexpr uint64_t kSignOfLifeNs = 50'000'000;  // and back: the bridge takes 250 ms of silence for a dead server
constexpr float kLoudest = 1e6f;                // as the server's intake limits every channel before it takes the mean

std::optional<HmacSha256> hmac_of(const std::string& key) {
  if (key.empty()) return std::nullopt;
  return HmacSha256(reinterpret_cast<const uint8_t*>(key.data()), key.size());
}

uint32_t fade_frames(const Geometry& g) { return g.sample_rate_hz / 1000; }

}  // namespace

RemoteLink::RemoteLink(std::shared_ptr<Segment> segment, const std::string& server_host, uint16_t server_port,
                       uint32_t session, const std::string& key, uint32_t jitter_frames)
    : segment_(std::move(segment)),
      header_(segment_->header()),
      geometry_(segment_->geometry()),
      session_(session),
      key_(hmac_of(key)),
      socket_(UdpSocket::connected(server_host, server_port)),
      jitter_(packet_window_frames(geometry_, jitter_frames), hole_wait_frames(jitter_frames), fade_frames(geometry_)),
      input_piece_(size_t{kPacketFramesMax} * geometry_.channels),
      mono_out_(kPacketFramesMax),
      mono_in_(kPacketFramesMax),
      output_piece_(size_t{kPacketFramesMax} * geometry_.channels) {
  if (!segment_->is_private()) throw std::invalid_argument("segment: a remote session needs private memory");
  if (session < 1 || session > 0x7fffffff) throw std::invalid_argument("session: expected 1 to 2^31 - 1");
  sending_ = std::thread([this] { run_sending(); });
  receiving_ = std::thread([this] { run_receiving(); });
  make_realtime(sending_, kSendPriority);
  make_realtime(receiving_, kReceivePriority);
}

RemoteLink::~RemoteLink() { stop(); }

void RemoteLink::stop() noexcept {
  if (!sending_.joinable()) return;
  stop_.store(true);
  segment_->server_wake().notify();
  sending_.join();
  receiving_.join();
  break_off();
}

void RemoteLink::break_off() noexcept {
  store_release(header_.closed_by_server, 1u);
  segment_->client_wake().notify();
}

LinkStats RemoteLink::stats() const noexcept {
  const std::lock_guard lock(mutex_);
  return {sent_.load(),         received_.load(), jitter_.lost(),      jitter_.late(),
          jitter_.duplicates(), refused_.load(),  jitter_.concealed(), server_concealed_.load()};
}

// --- sending thread ---

void RemoteLink::run_sending() noexcept {
  Wake wake = segment_->server_wake();
  while (!stop_.load()) {
    if (step_sending()) continue;
    const uint32_t token = wake.prepare();
    if (stop_.load() || step_sending()) {
      wake.cancel();
      continue;
    }
    wake.wait(token, kAskAgainNs);
  }
}

bool RemoteLink::step_sending() noexcept {
  const std::lock_guard lock(mutex_);
  const uint64_t now = monotonic_ns();
  const uint32_t asked = load_acquire(header_.epoch_requested);
  if (asked != epoch_) {
    epoch_ = asked;
    phase_ = Phase::kAsked;
    say_epoch(now);
    return true;
  }
  if (now - said_ns_ >= (phase_ == Phase::kAsked ? kAskAgainNs : kSignOfLifeNs)) say_epoch(now);
  if (phase_ == Phase::kReady && load_acquire(header_.epoch_live) == epoch_) {
    epoch_start_ = input_frame_ = output_end_ = load_relaxed(header_.epoch_start_frame);
    jitter_.reset(0);
    concealed_before_ = jitter_.concealed();
    server_concealed_.store(0);
    store_relaxed(header_.input_read_frame, epoch_start_);
    store_relaxed(header_.output_write_frame, epoch_start_);
    store_relaxed(header_.encoded_frame, epoch_start_);
    store_release(header_.epoch_running, epoch_);
    phase_ = Phase::kRunning;
    segment_->client_wake().notify();
    return true;
  }
  return phase_ == Phase::kRunning && send_input();
}

void RemoteLink::say_epoch(uint64_t now_ns) noexcept {
  said_ns_ = now_ns;
  AudioMessage message;
  message.kind = AudioKind::kEpoch;
  message.epoch = epoch_;
  message.offline = load_relaxed(header_.offline) != 0;
  transmit(message, nullptr);
}

bool RemoteLink::send_input() noexcept {
  const uint64_t available = load_acquire(header_.input_write_frame) - input_frame_;
  if (available == 0 || available > geometry_.ring_frames) return false;
  const auto frames = static_cast<uint32_t>(std::min<uint64_t>(available, kPacketFramesMax));
  segment_->input().read(input_frame_, input_piece_.data(), frames);
  for (uint32_t i = 0; i < frames; ++i) {
    float sum = 0.0f;
    for (uint32_t c = 0; c < geometry_.channels; ++c) {
      const float x = input_piece_[size_t{i} * geometry_.channels + c];
      sum += std::isfinite(x) ? std::clamp(x, -kLoudest, kLoudest) : 0.0f;
    }
    mono_out_[i] = geometry_.channels == 2 ? 0.5f * sum : sum;
  }
  AudioMessage message;
  message.kind = AudioKind::kAudio;
  message.epoch = epoch_;
  message.frame = input_frame_ - epoch_start_;
  message.frames = frames;
  transmit(message, mono_out_.data());
  input_frame_ += frames;
  store_release(header_.input_read_frame, input_frame_);
  return true;
}

void RemoteLink::transmit(const AudioMessage& content, const float* audio) noexcept {
  AudioMessage message = content;
  message.session = session_;
  uint8_t datagram[kDatagramBytesMax];
  size_t bytes = encode_audio(message, audio, key_.has_value(), datagram);
  if (key_) {
    put_seal(*key_, nonces_.next(unix_time_us()), datagram, bytes);
    bytes += kSealBytes;
  }
  if (socket_.send(datagram, bytes)) sent_.fetch_add(1);
}

// --- receiving thread ---

void RemoteLink::run_receiving() noexcept {
  socket_.receive_until(stop_,
                        [this](const uint8_t* data, size_t bytes, const Endpoint&) noexcept { take(data, bytes); });
}

void RemoteLink::take(const uint8_t* datagram, size_t bytes) noexcept {
  AudioMessage message;
  bool sealed = false;
  Refused refused = parse_audio(datagram, bytes, message, mono_in_.data(), sealed);
  if (refused == Refused::kNothing) {
    if (message.session != session_) refused = Refused::kUnknownSession;
    if (message.kind != AudioKind::kEpochReply && message.kind != AudioKind::kAudioReply) refused = Refused::kMisplaced;
  }
  if (refused == Refused::kNothing && key_) refused = check_seal(*key_, window_, datagram, bytes, sealed);
  if (refused != Refused::kNothing) {
    refused_.fetch_add(1);
    add(header_.packets_refused, uint64_t{1});
    return;
  }
  received_.fetch_add(1);
  store_release(header_.server_heartbeat_ns, monotonic_ns());
  const std::lock_guard lock(mutex_);
  if (message.kind == AudioKind::kAudioReply) {
    if (phase_ == Phase::kRunning && message.epoch == epoch_) take_audio(message, mono_in_.data());
  } else if (phase_ == Phase::kAsked && message.epoch == epoch_) {
    phase_ = Phase::kReady;
    store_release(header_.epoch_ready, epoch_);
    segment_->client_wake().notify();
  }
}

void RemoteLink::take_audio(const AudioMessage& message, const float* audio) noexcept {
  server_concealed_.store(message.concealed);
  if (jitter_.push(message.frame, audio, message.frames) == JitterBuffer::Push::kTooFar) {
    skip_to(message.frame);
    jitter_.push(message.frame, audio, message.frames);
  }
  float mono[kPacketFramesMax];
  for (;;) {
    const uint64_t held = output_end_ - std::min(output_end_, load_acquire(header_.output_read_frame));
    const uint64_t room = geometry_.ring_frames - std::min<uint64_t>(held, geometry_.ring_frames);
    const uint32_t frames = jitter_.pop(mono, static_cast<uint32_t>(std::min<uint64_t>(room, kPacketFramesMax)));
    if (frames == 0) break;
    // A bounce with a hole in it must not pass for one without.
    if (load_relaxed(header_.offline) != 0 && (jitter_.concealed() > concealed_before_ || message.concealed > 0))
      return break_off();
    publish(mono, frames);
  }
  store_relaxed(header_.packets_lost, jitter_.lost());
  store_relaxed(header_.packets_late, jitter_.late());
  store_relaxed(header_.frames_concealed, jitter_.concealed() + server_concealed_.load());
}

// The server has skipped what it could not make up for. All of it is long past its deadline.
void RemoteLink::skip_to(uint64_t frame) noexcept {
  if (load_relaxed(header_.offline) != 0) return break_off();
  const float silence[kPacketFramesMax] = {};
  uint64_t from = output_end_;
  const uint64_t to = epoch_start_ + frame;
  if (to <= from) return;
  if (to - from > geometry_.ring_frames) from = output_end_ = to - geometry_.ring_frames;
  while (output_end_ < to)
    publish(silence, static_cast<uint32_t>(std::min<uint64_t>(to - output_end_, kPacketFramesMax)));
  jitter_.reset(frame);
}

void RemoteLink::publish(const float* mono, uint32_t frames) noexcept {
  const float* interleaved = mono;
  if (geometry_.channels == 2) {
    for (uint32_t i = 0; i < frames; ++i) output_piece_[2 * i] = output_piece_[2 * i + 1] = mono[i];
    interleaved = output_piece_.data();
  }
  segment_->output().write(output_end_, interleaved, frames);
  output_end_ += frames;
  store_relaxed(header_.encoded_frame, output_end_);
  store_release(header_.output_write_frame, output_end_);
  segment_->client_wake().notify();
  stamp_published(output_end_);
}

void RemoteLink::stamp_published(uint64_t end_frame) noexcept {
  const uint64_t submitted = load_acquire(header_.blocks_submitted);
  if (submitted - stamps_published_ > RT_STAMPS)
    stamps_published_ = submitted - std::min<uint64_t>(submitted, RT_STAMPS);
  while (stamps_published_ < submitted) {
    rt_stamp& stamp = header_.stamps[stamps_published_ % RT_STAMPS];
    if (load_acquire(stamp.end_frame) > end_frame) break;
    store_release(stamp.published_ns, monotonic_ns());
    ++stamps_published_;
  }
}

}  // namespace rtbridge
