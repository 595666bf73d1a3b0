// One remote client, seen from the worker: plays the client's part on a private segment, so that the session behind it
// (session.h) notices no difference. Packets that the hub has received come in order out of a jitter buffer into the
// input ring; a sending thread turns the output ring into packets for the address that the client last sent from.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "rtbridge/hmac_sha256.h"
#include "rtbridge/inheriting_mutex.h"
#include "rtbridge/jitter_buffer.h"
#include "rtbridge/osc_audio.h"
#include "rtbridge/osc_seal.h"
#include "rtbridge/segment.h"
#include "rtbridge/udp_socket.h"

namespace rtstream {

class RemoteSession {
 public:
  // nonce_floor: seals up to this one belong to an earlier life of the session.
  RemoteSession(uint32_t session, std::shared_ptr<rtbridge::Segment> segment, uint32_t jitter_frames,
                const std::optional<rtbridge::HmacSha256>& key, int64_t nonce_floor, rtbridge::UdpSocket& socket,
                bool realtime);
  ~RemoteSession();  // joins the sending thread

  // [receiving thread] A well-formed datagram for this session; `audio` holds its samples.
  rtbridge::Refused take(const uint8_t* datagram, size_t bytes, const rtbridge::AudioMessage& message, bool sealed,
                         const float* audio, const rtbridge::Endpoint& from) noexcept;
  int64_t highest_nonce() const noexcept;
  uint64_t packets_sent() const noexcept { return sent_.load(std::memory_order_relaxed); }

 private:
  enum class Phase { kIdle, kAsked, kReady, kRunning };  // of the epoch handshake on the private segment

  void take_epoch(uint32_t epoch, bool offline) noexcept;
  void take_audio(const rtbridge::AudioMessage& message, const float* audio) noexcept;
  void ask(bool restart) noexcept;
  void go_live(uint64_t frame) noexcept;
  void submit() noexcept;
  void run_sending() noexcept;
  bool step_sending() noexcept;
  void transmit(const rtbridge::AudioMessage& content, const float* audio) noexcept;

  const uint32_t session_;
  const std::shared_ptr<rtbridge::Segment> segment_;
  rt_header& header_;
  const rtbridge::Geometry geometry_;
  const std::optional<rtbridge::HmacSha256> key_;
  rtbridge::UdpSocket& socket_;

  mutable rtbridge::InheritingMutex mutex_;  // between the two threads, over everything down to nonces_
  rtbridge::ReplayWindow window_;
  rtbridge::Endpoint client_;
  Phase phase_ = Phase::kIdle;
  uint32_t wire_epoch_ = 0;     // the client's
  uint32_t private_epoch_ = 0;  // the segment's: one more each time that a hole is skipped
  bool restarting_ = false;     // the private epoch will start in the middle of the client's
  bool reply_due_ = false;
  rtbridge::JitterBuffer jitter_;
  uint64_t concealed_before_ = 0;  // jitter_.concealed() when the client's epoch began
  uint64_t skipped_ = 0;           // frames of the client's epoch
  uint64_t epoch_start_ = 0;       // of the private epoch, in frames of the client's
  uint64_t input_end_ = 0;
  uint64_t output_sent_ = 0;
  rtbridge::NonceSource nonces_;

  std::vector<float> input_piece_, output_piece_, mono_out_;
  std::atomic<uint64_t> sent_{0};
  std::atomic<bool> stop_{false};
  std::thread sending_;
};

}  // namespace rtstream
