// The worker's UDP socket for remote audio: one receiving thread reads every datagram, checks its shape and its
// session, and hands it to that session. Whatever is not right is dropped and counted by reason.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "rtbridge/hmac_sha256.h"
#include "rtbridge/inheriting_mutex.h"
#include "rtbridge/osc_audio.h"
#include "rtbridge/segment.h"
#include "rtbridge/udp_socket.h"
#include "stream/remote_session.h"

namespace rtstream {

struct HubStats {
  uint64_t packets_received = 0;  // taken
  uint64_t packets_sent = 0;
  std::array<uint64_t, static_cast<size_t>(rtbridge::Refused::kCount)> refused{};
};

class RemoteHub {
 public:
  // key empty: nothing is sealed, for loopback only. Throws std::runtime_error when the socket can't be had.
  RemoteHub(const std::string& host, uint16_t port, const std::string& key, bool realtime);
  ~RemoteHub();
  RemoteHub(const RemoteHub&) = delete;
  RemoteHub& operator=(const RemoteHub&) = delete;

  uint16_t port() const noexcept { return socket_.port(); }
  // [control thread] Throws std::invalid_argument. The segment is private; the worker plays the server's part on it.
  void add(uint32_t session, std::shared_ptr<rtbridge::Segment> segment, uint32_t jitter_frames);
  bool remove(uint32_t session);  // [control thread]
  HubStats stats() const;         // [control thread]
  void stop() noexcept;           // [control thread]

 private:
  void run_receiving() noexcept;
  void take(const uint8_t* datagram, size_t bytes, const rtbridge::Endpoint& from) noexcept;

  const bool realtime_;
  const std::optional<rtbridge::HmacSha256> key_;
  rtbridge::UdpSocket socket_;
  mutable rtbridge::InheritingMutex mutex_;  // sessions_ and floors_, between control and receiving thread
  std::map<uint32_t, std::shared_ptr<RemoteSession>> sessions_;
  std::map<uint32_t, int64_t> nonce_floors_;  // of sessions that were here: what they sent must not come again
  uint64_t sent_before_ = 0;                  // by sessions that were here
  std::array<float, rtbridge::kPacketFramesMax> audio_{};  // receiving thread
  std::atomic<uint64_t> received_{0};
  std::array<std::atomic<uint64_t>, static_cast<size_t>(rtbridge::Refused::kCount)> refused_{};
  std::atomic<bool> stop_{false};
  std::thread receiving_;
};

}  // namespace rtstream
