// A remote session, seen from the client: plays the server's part on the client's own private segment and carries the
// stream over UDP to the server's audio socket (RemoteHub). The bridge in front of it notices no difference.
//
// Sending thread: epochs, input ring -> mono packets. Receiving thread: packets -> jitter buffer -> output ring.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "rtbridge/hmac_sha256.h"
#include "rtbridge/inheriting_mutex.h"
#include "rtbridge/jitter_buffer.h"
#include "rtbridge/osc_audio.h"
#include "rtbridge/osc_seal.h"
#include "rtbridge/segment.h"
#include "rtbridge/udp_socket.h"

namespace rtbridge {

// How the jitter part of the latency is spent: each direction waits for at most half of it at a hole, which leaves the
// other half to the network's own delay.
constexpr uint32_t hole_wait_frames(uint32_t jitter_frames) { return jitter_frames / 2; }
// How far ahead of the next frame packets are taken: the largest block, both ways' waiting, and an eighth of a second.
// A longer hole is skipped, not concealed: a server can't make up for it.
constexpr uint32_t packet_window_frames(const Geometry& g, uint32_t jitter_frames) {
  return 2 * g.max_block_frames + 2 * jitter_frames + g.sample_rate_hz / 8;
}

struct LinkStats {
  uint64_t packets_sent, packets_received, packets_lost, packets_late, packets_duplicate, packets_refused;
  uint64_t frames_concealed;         // in the translation
  uint64_t frames_concealed_server;  // in the input, as the server tells
};

class RemoteLink {
 public:
  // Throws std::runtime_error (network) or std::invalid_argument (a segment that is not private).
  RemoteLink(std::shared_ptr<Segment> segment, const std::string& server_host, uint16_t server_port, uint32_t session,
             const std::string& key, uint32_t jitter_frames);
  ~RemoteLink();  // stops
  RemoteLink(const RemoteLink&) = delete;
  RemoteLink& operator=(const RemoteLink&) = delete;

  void stop() noexcept;  // [control thread] the bridge sees a server that has left
  LinkStats stats() const noexcept;

 private:
  enum class Phase { kIdle, kAsked, kReady, kRunning };  // of the epoch handshake, see layout.h

  void run_sending() noexcept;
  bool step_sending() noexcept;
  void say_epoch(uint64_t now_ns) noexcept;
  bool send_input() noexcept;
  void transmit(const AudioMessage& message, const float* audio) noexcept;
  void run_receiving() noexcept;
  void take(const uint8_t* datagram, size_t bytes) noexcept;
  void take_audio(const AudioMessage& message, const float* audio) noexcept;
  void skip_to(uint64_t frame) noexcept;
  void publish(const float* mono, uint32_t frames) noexcept;
  void stamp_published(uint64_t end_frame) noexcept;
  void break_off() noexcept;

  const std::shared_ptr<Segment> segment_;
  rt_header& header_;
  const Geometry geometry_;
  const uint32_t session_;
  const std::optional<HmacSha256> key_;
  UdpSocket socket_;

  mutable InheritingMutex mutex_;  // between the two threads; the audio thread never takes it
  Phase phase_ = Phase::kIdle;
  uint32_t epoch_ = 0;
  uint64_t epoch_start_ = 0;
  uint64_t output_end_ = 0;  // absolute; frames before it are published
  uint64_t stamps_published_ = 0;
  uint64_t concealed_before_ = 0;  // this epoch
  JitterBuffer jitter_;

  NonceSource nonces_;  // sending thread
  uint64_t said_ns_ = 0;
  uint64_t input_frame_ = 0;
  std::vector<float> input_piece_, mono_out_;
  ReplayWindow window_;  // receiving thread
  std::vector<float> mono_in_, output_piece_;

  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> sent_{0}, received_{0}, refused_{0}, server_concealed_{0};
  std::thread sending_, receiving_;
};

}  // namespace rtbridge
