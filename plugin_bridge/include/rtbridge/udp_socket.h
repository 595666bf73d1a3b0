// A UDP socket that never blocks, for IPv4 and IPv6: BSD sockets, or Winsock. Sending drops what the system won't take
// at once: the stream above treats that as a loss like any other.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

namespace rtbridge {

struct Endpoint {
  alignas(8) std::array<uint8_t, 28> address{};  // a sockaddr_in or sockaddr_in6
  uint32_t bytes = 0;
};

class UdpSocket {
 public:
  // Both throw std::runtime_error naming host, port and the system's reason.
  static UdpSocket bound(const std::string& host, uint16_t port);      // port 0: any free one
  static UdpSocket connected(const std::string& host, uint16_t port);  // hears that one peer only
  UdpSocket(UdpSocket&& other) noexcept;
  UdpSocket& operator=(UdpSocket&&) = delete;
  ~UdpSocket();

  uint16_t port() const noexcept { return port_; }
  bool wait(uint32_t timeout_ms) noexcept;  // [one receiving thread] true: something may be there
  // The datagram's bytes (longer ones are cut to `capacity`), or -1 when there is none.
  int receive(uint8_t* data, size_t capacity, Endpoint& from) noexcept;
  // [one receiving thread] Whether the last receive() failed because the machine says that nobody listens there.
  bool refused() const noexcept { return refused_; }
  bool send(const uint8_t* data, size_t bytes, const Endpoint& to) noexcept;
  bool send(const uint8_t* data, size_t bytes) noexcept;  // connected sockets

  // [one receiving thread] take(datagram, bytes, from) for everything that comes, until `stop` (seen within 50 ms).
  // Works for at most 2 of any 10 ms: a flood loses packets, it does not get the machine, even at real-time priority.
  template <class Take>
  void receive_until(const std::atomic<bool>& stop, Take take) noexcept {
    using namespace std::chrono;
    constexpr auto kPeriod = milliseconds(10), kShare = milliseconds(2);
    uint8_t datagram[2048];
    Endpoint from;
    auto period = steady_clock::now();
    steady_clock::duration worked{};
    while (!stop.load()) {
      if (!wait(50)) continue;
      const auto began = steady_clock::now();
      if (began - period > kPeriod) period = began, worked = {};
      for (int i = 0; i < 64; ++i) {
        const int bytes = receive(datagram, sizeof datagram, from);
        if (bytes < 0) break;
        take(datagram, static_cast<size_t>(bytes), from);
      }
      worked += steady_clock::now() - began;
      if (worked > kShare) std::this_thread::sleep_until(period + kPeriod);
    }
  }

 private:
  UdpSocket() = default;
  static UdpSocket made(const std::string& host, uint16_t port, bool connect);

  intptr_t handle_ = -1;
  uint16_t port_ = 0;
  bool refused_ = false;
};

}  // namespace rtbridge
