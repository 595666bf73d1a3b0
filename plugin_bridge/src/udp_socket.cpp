#include "rtbridge/udp_socket.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

#if defined(_WIN32)
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

namespace rtbridge {
namespace {

constexpr int kReceiveBuffer = 1 << 20;  // 0.5 s of sealed packets at 48 kHz from four clients
#if defined(_WIN32)
using Length = int;
using Native = SOCKET;
std::string last_error() { return std::system_category().message(WSAGetLastError()); }
void close_native(Native s) { closesocket(s); }
bool make_nonblocking(Native s) {
  u_long yes = 1;
  return ioctlsocket(s, FIONBIO, &yes) == 0;
}
bool was_refused() { return WSAGetLastError() == WSAECONNRESET; }
void start_network() {
  static const int once = [] {
    WSADATA data;
    return WSAStartup(MAKEWORD(2, 2), &data);
  }();
  (void)once;
}
#else
using Length = socklen_t;
using Native = int;
std::string last_error() { return std::generic_category().message(errno); }
void close_native(Native s) { ::close(s); }
bool make_nonblocking(Native s) {
  return fcntl(s, F_SETFL, fcntl(s, F_GETFL, 0) | O_NONBLOCK) == 0 && fcntl(s, F_SETFD, FD_CLOEXEC) == 0;
}
bool was_refused() { return errno == ECONNREFUSED; }
void start_network() {}
#endif

Native native(intptr_t handle) { return static_cast<Native>(handle); }

uint16_t local_port(Native s) {
  sockaddr_storage storage{};
  Length length = sizeof storage;
  if (getsockname(s, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return 0;
  uint16_t port;
  if (storage.ss_family == AF_INET6)
    port = reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port;
  else
    port = reinterpret_cast<const sockaddr_in*>(&storage)->sin_port;
  return ntohs(port);
}

}  // namespace

UdpSocket UdpSocket::made(const std::string& host, uint16_t port, bool connect) {
  start_network();
  const std::string where = "UDP " + host + " port " + std::to_string(port) + ": ";
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_DGRAM;
  wanted.ai_flags = connect ? 0 : AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found); error != 0)
    throw std::runtime_error(where + "the host is not known (" + gai_strerror(error) + ")");
  std::string why = "no address";
  UdpSocket made_socket;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    const Native s = ::socket(at->ai_family, SOCK_DGRAM, 0);
    if (s == static_cast<Native>(-1)) {
      why = last_error();
      continue;
    }
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, reinterpret_cast<const char*>(&kReceiveBuffer), sizeof kReceiveBuffer);
    const auto length = static_cast<Length>(at->ai_addrlen);
    const int done = connect ? ::connect(s, at->ai_addr, length) : ::bind(s, at->ai_addr, length);
    if (done == 0 && make_nonblocking(s)) {
      made_socket.handle_ = static_cast<intptr_t>(s);
      made_socket.port_ = local_port(s);
      break;
    }
    why = last_error();
    close_native(s);
  }
  freeaddrinfo(found);
  if (made_socket.handle_ == -1) throw std::runtime_error(where + why);
  return made_socket;
}

UdpSocket UdpSocket::bound(const std::string& host, uint16_t port) { return made(host, port, false); }
UdpSocket UdpSocket::connected(const std::string& host, uint16_t port) { return made(host, port, true); }

UdpSocket::UdpSocket(UdpSocket&& other) noexcept
    : handle_(std::exchange(other.handle_, intptr_t{-1})), port_(other.port_) {}

UdpSocket::~UdpSocket() {
  if (handle_ != -1) close_native(native(handle_));
}

bool UdpSocket::wait(uint32_t timeout_ms) noexcept {
#if defined(_WIN32)
  WSAPOLLFD entry{native(handle_), POLLRDNORM, 0};
  return WSAPoll(&entry, 1, static_cast<int>(timeout_ms)) > 0;
#else
  pollfd entry{native(handle_), POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(timeout_ms)) > 0;
#endif
}

int UdpSocket::receive(uint8_t* data, size_t capacity, Endpoint& from) noexcept {
  Length length = static_cast<Length>(from.address.size());
  const auto got = ::recvfrom(native(handle_), reinterpret_cast<char*>(data), static_cast<Length>(capacity), 0,
                              reinterpret_cast<sockaddr*>(from.address.data()), &length);
  from.bytes = static_cast<uint32_t>(length);
  refused_ = got < 0 && was_refused();
  return static_cast<int>(got);
}

bool UdpSocket::send(const uint8_t* data, size_t bytes, const Endpoint& to) noexcept {
  return ::sendto(native(handle_), reinterpret_cast<const char*>(data), static_cast<Length>(bytes), 0,
                  reinterpret_cast<const sockaddr*>(to.address.data()), static_cast<Length>(to.bytes)) ==
         static_cast<decltype(::sendto(0, nullptr, 0, 0, nullptr, 0))>(bytes);
}

bool UdpSocket::send(const uint8_t* data, size_t bytes) noexcept {
  return ::send(native(handle_), reinterpret_cast<const char*>(data), static_cast<Length>(bytes), 0) ==
         static_cast<decltype(::send(0, nullptr, 0, 0))>(bytes);
}

}  // namespace rtbridge
