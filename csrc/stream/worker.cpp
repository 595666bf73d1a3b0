#include "stream/worker.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "rtbridge/atomics.h"
#include "rtbridge/realtime.h"

namespace rtstream {

using rtbridge::load_acquire;
using rtbridge::load_relaxed;
using rtbridge::monotonic_ns;

Worker::Worker(bool realtime) : realtime_(realtime), ensembles_(realtime) {
  const int highest = thread_plan().highest_priority;
  if (realtime && highest > 0) {
    rtbridge::LocalWake done;
    const uint32_t token = done.prepare();
    std::thread probe([&] { done.wait(token, 1'000'000'000); });
    realtime_granted_ = rtbridge::make_realtime(probe, 1);
    done.notify();
    probe.join();
  }
}

Worker::~Worker() { stop(); }

void Worker::open_session(SessionConfig config, std::shared_ptr<rtbridge::Segment> segment,
                          std::vector<std::unique_ptr<Voice>> voices) {
  if (!segment) throw std::invalid_argument("segment: expected one, found none");
  if (config.kind == Kind::kModel && voices.empty()) throw std::invalid_argument("voices: a model needs at least one");
  if (config.kind != Kind::kLoopback && (config.hop_samples < 1 || config.hop_samples > 65536))
    throw std::invalid_argument("hop_samples: expected 1 to 65536, found " + std::to_string(config.hop_samples));
  if (config.kind == Kind::kLoopback) config.hop_samples = 1;
  config.realtime = realtime_;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) throw std::invalid_argument("the worker has been stopped");
    if (sessions_.count(config.id))
      throw std::invalid_argument("session " + std::to_string(config.id) + " is open already");
  }
  const Stand stand = config.render_thread < 0 ? ensembles_.place() : ensembles_.at(config.render_thread);
  // Outside of the lock: it allocates and starts threads, while the encoder thread serves other sessions.
  auto session = std::make_shared<Session>(config, std::move(segment), std::move(voices), &hops_wake_, stand);
  const std::lock_guard lock(mutex_);
  sessions_[config.id] = std::move(session);
}

bool Worker::close_session(int id) {
  std::shared_ptr<Session> session;
  {
    const std::lock_guard lock(mutex_);
    const auto at = sessions_.find(id);
    if (at == sessions_.end()) return false;
    session = std::move(at->second);
    sessions_.erase(at);
  }
  session.reset();  // joins its threads, unless the encoder thread is in the middle of a call: then that does
  return true;
}

std::vector<int> Worker::sessions() const {
  const std::lock_guard lock(mutex_);
  std::vector<int> ids;
  for (const auto& [id, session] : sessions_) ids.push_back(id);
  return ids;
}

int Worker::latent_size(int id) const {
  const std::lock_guard lock(mutex_);
  const auto at = sessions_.find(id);
  return at == sessions_.end() ? -1 : at->second->latent_size();
}

bool Worker::stats(int id, SessionStats* out) const {
  const std::lock_guard lock(mutex_);
  const auto at = sessions_.find(id);
  if (at == sessions_.end()) return false;
  const rt_header& h = at->second->segment()->header();
  const uint64_t beat = load_acquire(h.client_heartbeat_ns), now = monotonic_ns();
  out->client_pid = load_acquire(h.client_pid);
  out->epoch = at->second->epoch();
  out->generation = at->second->segment()->geometry().generation;
  out->closed_by_client = load_acquire(h.closed_by_client) != 0;
  out->client_alive = !out->closed_by_client && rtbridge::process_alive(out->client_pid);
  out->heartbeat_age_ms = beat == 0 ? -1.0 : static_cast<double>(now - std::min(now, beat)) * 1e-6;
  out->hops = load_relaxed(h.hops);
  out->encoder_ns = load_relaxed(h.encoder_ns);
  out->decoder_ns = load_relaxed(h.decoder_ns);
  out->blocks = load_relaxed(h.blocks);
  out->misses = load_relaxed(h.misses);
  for (size_t i = 0; i < RT_MISS_CAUSES; ++i) out->misses_by_cause[i] = load_relaxed(h.misses_by_cause[i]);
  return true;
}

void Worker::stop() {
  std::map<int, std::shared_ptr<Session>> closing;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    closing.swap(sessions_);
  }
  hops_wake_.notify();
  closing.clear();
}

bool Worker::take_earliest(int* id, HopTag* tag, std::vector<float>* hop) {
  const std::lock_guard lock(mutex_);
  Session* best = nullptr;
  const float* best_hop = nullptr;
  for (const auto& [key, session] : sessions_) {
    HopTag candidate;
    const float* samples = session->front_hop(&candidate);
    if (!samples || (best && candidate.deadline_ns >= tag->deadline_ns)) continue;
    best = session.get();
    best_hop = samples;
    *id = key;
    *tag = candidate;
  }
  if (!best) return false;
  hop->assign(best_hop, best_hop + best->config().hop_samples);
  best->take_hop(*tag);
  return true;
}

bool Worker::wait_hop(uint64_t timeout_ns, int* session, HopTag* tag, std::vector<float>* hop) {
  const std::lock_guard one(encoder_mutex_);
  const uint64_t deadline = monotonic_ns() + timeout_ns;
  if (realtime_) stamina_.rest_when_tired();
  while (!stopped_) {
    if (take_earliest(session, tag, hop)) return true;
    const uint32_t token = hops_wake_.prepare();
    if (take_earliest(session, tag, hop)) {
      hops_wake_.cancel();
      return true;
    }
    const uint64_t now = monotonic_ns();
    if (now >= deadline || stopped_) {
      hops_wake_.cancel();
      return false;
    }
    hops_wake_.wait(token, deadline - now);
    stamina_.rested();
  }
  return false;
}

bool Worker::push_latent(int id, uint32_t epoch, const float* latent) {
  const std::lock_guard lock(mutex_);
  const auto at = sessions_.find(id);
  return at != sessions_.end() && at->second->push_latent(epoch, latent);
}

}  // namespace rtstream
