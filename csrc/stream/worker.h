// The native side of the audio worker: its sessions, and the queue of hops that the one encoder thread serves.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "rtbridge/inheriting_mutex.h"
#include "stream/session.h"

namespace rtstream {

struct SessionStats {
  uint32_t client_pid, epoch, generation;
  bool client_alive;  // its process exists and it has not said goodbye
  bool closed_by_client;
  double heartbeat_age_ms;  // of the client; negative before it attached
  uint64_t hops, encoder_ns, decoder_ns, blocks, misses, misses_by_cause[RT_MISS_CAUSES];
};

class Worker {
 public:
  explicit Worker(bool realtime);
  ~Worker();

  bool realtime_granted() const noexcept { return realtime_granted_; }

  // [control thread] Throws std::invalid_argument.
  void open_session(SessionConfig config, std::shared_ptr<rtbridge::Segment> segment,
                    std::vector<std::unique_ptr<Voice>> voices);
  bool close_session(int id);
  std::vector<int> sessions() const;
  bool stats(int id, SessionStats* out) const;
  int latent_size(int id) const;  // -1: no such session
  std::vector<EnsembleStats> ensembles() const { return ensembles_.stats(); }
  void stop();  // closes every session; wait_hop returns at once from then on

  // [encoder thread, one] The hop that is due first, or false after `timeout_ns`.
  bool wait_hop(uint64_t timeout_ns, int* session, HopTag* tag, std::vector<float>* hop);
  bool push_latent(int session, uint32_t epoch, const float* latent);

 private:
  bool take_earliest(int* session, HopTag* tag, std::vector<float>* hop);

  const bool realtime_;
  bool realtime_granted_ = false;
  Ensembles ensembles_;                      // outlive the sessions
  Stamina stamina_;                          // the encoder thread's
  rtbridge::LocalWake hops_wake_;            // intake and render threads notify, the encoder thread sleeps
  mutable rtbridge::InheritingMutex mutex_;  // sessions_: control and encoder thread; the audio threads never take it
  std::mutex encoder_mutex_;                 // a second encoder thread would wait here
  std::map<int, std::shared_ptr<Session>> sessions_;
  std::atomic<bool> stopped_{false};
};

}  // namespace rtstream
