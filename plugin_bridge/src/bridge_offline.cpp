// The parts of the bridge that wait: for a stream to begin, and in a bounce for every block.
#include <algorithm>

#include "rtbridge/atomics.h"
#include "rtbridge/bridge.h"

namespace rtbridge {
namespace {

constexpr uint64_t kGoneNs = 2'000'000'000;  // offline: a server this long without a heartbeat has left

}  // namespace

bool Bridge::server_gone(uint64_t now_ns) const noexcept {
  const rt_header& h = segment_->header();
  if (load_acquire(h.closed_by_server) != 0) return true;
  const uint64_t beat = load_acquire(h.server_heartbeat_ns);
  return now_ns > beat && now_ns - beat > kGoneNs;
}

bool Bridge::wait_until_ready(uint64_t deadline_ns) noexcept {
  rt_header& h = segment_->header();
  Wake wake = segment_->client_wake();
  while (load_acquire(h.epoch_ready) != epoch_) {
    const uint64_t now = monotonic_ns();
    if (now >= deadline_ns || server_gone(now)) return false;
    store_relaxed(h.client_heartbeat_ns, now);
    const uint32_t token = wake.prepare();
    if (load_acquire(h.epoch_ready) == epoch_) {
      wake.cancel();
      return true;
    }
    wake.wait(token, std::min<uint64_t>(deadline_ns - now, 50'000'000));
  }
  return true;
}

bool Bridge::wait_ready(uint64_t timeout_ns) noexcept {
  adopt_pending();
  if (!segment_) return false;
  if (state_ == State::kLive) return true;
  if (state_ == State::kIdle) request_epoch();
  return wait_until_ready(monotonic_ns() + timeout_ns);
}

// Offline, a parameter that is set after this block must not reach the server before it.
Status Bridge::wait_taken(uint64_t deadline_ns) noexcept {
  rt_header& h = segment_->header();
  const uint64_t end = load_relaxed(h.input_write_frame);
  Wake wake = segment_->client_wake();
  const auto taken = [&]() noexcept {
    return load_acquire(h.epoch_running) == epoch_ && load_acquire(h.input_read_frame) >= end;
  };
  while (!taken()) {
    const uint64_t now = monotonic_ns();
    if (now >= deadline_ns || server_gone(now)) return Status::kServerGone;
    store_relaxed(h.client_heartbeat_ns, now);
    const uint32_t token = wake.prepare();
    if (taken()) {
      wake.cancel();
      break;
    }
    wake.wait(token, 1'000'000);  // a remote link takes it without a word
  }
  return Status::kOk;
}

Status Bridge::wait_for_wet(int64_t from, uint32_t frames) noexcept {
  // An epoch that began in the middle of the stream leaves a gap that nothing will fill. After a panic it is silence;
  // otherwise the stream was broken, and a bounce must not go on.
  if (from < static_cast<int64_t>(epoch_start_) && epoch_start_ != origin_)
    return panicking_ ? Status::kOk : Status::kServerGone;
  Wake wake = segment_->client_wake();
  rt_header& h = segment_->header();
  const uint64_t deadline = monotonic_ns() + uint64_t{offline_deadline_ms()} * 1'000'000;
  while (!wet_ready(from, frames)) {
    const uint64_t now = monotonic_ns();
    if (now >= deadline || server_gone(now)) return Status::kServerGone;
    store_relaxed(h.client_heartbeat_ns, now);
    const uint32_t token = wake.prepare();
    if (wet_ready(from, frames)) {
      wake.cancel();
      break;
    }
    wake.wait(token, std::min<uint64_t>(deadline - now, 50'000'000));
  }
  return Status::kOk;
}

// How many frames of digital silence a host hands in before the material (Ardour: as many as happen to pass until its
// transport rolls) must not change a bounce, so a stream that is waited for begins with the first other frame.
uint32_t Bridge::pass_leading_silence(const float* in, float* out, uint32_t frames) noexcept {
  if (!offline() || frame_ != origin_ || !segment_) return 0;
  const size_t samples = size_t{frames} * config_.channels;
  const size_t silent = static_cast<size_t>(std::find_if(in, in + samples, [](float x) { return x != 0.0f; }) - in);
  const auto passed = static_cast<uint32_t>(silent / config_.channels);
  std::fill_n(out, size_t{passed} * config_.channels, 0.0f);
  frames_.fetch_add(passed, std::memory_order_relaxed);
  return passed;
}

}  // namespace rtbridge
