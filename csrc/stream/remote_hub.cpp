#include "stream/remote_hub.h"

#include <algorithm>
#include <stdexcept>

#include "stream/audio_thread.h"

namespace rtstream {

using rtbridge::Refused;

namespace {

constexpr size_t kFloorsKept = 4096;

std::optional<rtbridge::HmacSha256> hmac_of(const std::string& key) {
  if (key.empty()) return std::nullopt;
  return rtbridge::HmacSha256(reinterpret_cast<const uint8_t*>(key.data()), key.size());
}

}  // namespace

RemoteHub::RemoteHub(const std::string& host, uint16_t port, const std::string& key, bool realtime)
    : realtime_(realtime), key_(hmac_of(key)), socket_(rtbridge::UdpSocket::bound(host, port)) {
  receiving_ = std::thread([this] { run_receiving(); });
}

RemoteHub::~RemoteHub() { stop(); }

void RemoteHub::stop() noexcept {
  if (!receiving_.joinable()) return;
  stop_.store(true);
  receiving_.join();
  std::map<uint32_t, std::shared_ptr<RemoteSession>> closing;
  {
    const std::lock_guard lock(mutex_);
    closing.swap(sessions_);
  }
}

void RemoteHub::add(uint32_t session, std::shared_ptr<rtbridge::Segment> segment, uint32_t jitter_frames) {
  if (!segment || !segment->is_private()) throw std::invalid_argument("segment: a remote session needs private memory");
  if (session < 1 || session > 0x7fffffff)
    throw std::invalid_argument("session: expected 1 to 2^31 - 1, found " + std::to_string(session));
  const std::lock_guard lock(mutex_);
  if (stop_.load()) throw std::invalid_argument("the hub has been stopped");
  if (sessions_.count(session)) throw std::invalid_argument("session " + std::to_string(session) + " is open already");
  const auto floor = nonce_floors_.find(session);
  sessions_[session] =
      std::make_shared<RemoteSession>(session, std::move(segment), jitter_frames, key_,
                                      floor == nonce_floors_.end() ? 0 : floor->second, socket_, realtime_);
}

bool RemoteHub::remove(uint32_t session) {
  std::shared_ptr<RemoteSession> leaving;  // joined outside of the lock
  const std::lock_guard lock(mutex_);
  const auto at = sessions_.find(session);
  if (at == sessions_.end()) return false;
  leaving = std::move(at->second);
  sessions_.erase(at);
  sent_before_ += leaving->packets_sent();
  if (key_) {
    if (nonce_floors_.size() >= kFloorsKept) nonce_floors_.erase(nonce_floors_.begin());  // the oldest number
    nonce_floors_[session] = leaving->highest_nonce();
  }
  return true;
}

HubStats RemoteHub::stats() const {
  HubStats stats;
  stats.packets_received = received_.load();
  for (size_t i = 0; i < stats.refused.size(); ++i) stats.refused[i] = refused_[i].load();
  const std::lock_guard lock(mutex_);
  stats.packets_sent = sent_before_;
  for (const auto& [id, session] : sessions_) stats.packets_sent += session->packets_sent();
  return stats;
}

void RemoteHub::run_receiving() noexcept {
  const AudioThread here(Role::kReceive, 0, realtime_);
  socket_.receive_until(stop_, [this](const uint8_t* data, size_t bytes, const rtbridge::Endpoint& from) noexcept {
    take(data, bytes, from);
  });
}

void RemoteHub::take(const uint8_t* datagram, size_t bytes, const rtbridge::Endpoint& from) noexcept {
  rtbridge::AudioMessage message;
  bool sealed = false;
  Refused refused = rtbridge::parse_audio(datagram, bytes, message, audio_.data(), sealed);
  if (refused == Refused::kNothing) {
    std::shared_ptr<RemoteSession> session;
    {
      const std::lock_guard lock(mutex_);
      const auto at = sessions_.find(message.session);
      if (at != sessions_.end()) session = at->second;
    }
    refused = session ? session->take(datagram, bytes, message, sealed, audio_.data(), from) : Refused::kUnknownSession;
  }
  if (refused == Refused::kNothing)
    received_.fetch_add(1);
  else
    refused_[static_cast<size_t>(refused)].fetch_add(1);
}

}  // namespace rtstream
