#include "stream/block_driver.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "rtbridge/realtime.h"
#include "rtbridge/wake.h"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <time.h>
#endif

namespace rtstream {

using rtbridge::make_realtime;
using rtbridge::monotonic_ns;

namespace {

constexpr uint64_t kTickNs = 1'000'000;
constexpr uint64_t kStallNs = 500'000;
constexpr size_t kMaxStalls = 100'000;
constexpr int kDriverPriority = 80, kMeterPriority = 90;

void sleep_until(uint64_t ns) noexcept {
#if defined(__linux__)
  const timespec at{static_cast<time_t>(ns / 1'000'000'000u), static_cast<long>(ns % 1'000'000'000u)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) != 0) {
  }
#else
  const uint64_t now = monotonic_ns();
  if (ns > now) std::this_thread::sleep_for(std::chrono::nanoseconds(ns - now));
#endif
}

}  // namespace

HiccupMeter::HiccupMeter(bool realtime) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  logs_.resize(static_cast<size_t>(cores));
  for (int core = 0; core < cores; ++core) {
    std::vector<Stall>* log = &logs_[static_cast<size_t>(core)];
    log->reserve(kMaxStalls / static_cast<size_t>(cores));
    threads_.emplace_back([this, core, log] { watch(core, log); });
    if (realtime && !make_realtime(threads_.back(), kMeterPriority)) granted_ = false;
#if defined(__linux__)
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    pthread_setaffinity_np(threads_.back().native_handle(), sizeof one, &one);
#endif
  }
  granted_ = granted_ && realtime;
}

void HiccupMeter::watch(int core, std::vector<Stall>* log) noexcept {
  sleep_until(monotonic_ns() + 5 * kTickNs);  // priority and core are set meanwhile
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t due = monotonic_ns() + kTickNs;
    sleep_until(due);
    const uint64_t now = monotonic_ns();
    if (now - due > kStallNs && log->size() < log->capacity()) log->push_back({due, now - due, core});
  }
}

std::vector<Stall> HiccupMeter::stop() {
  stop_.store(true);
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  std::vector<Stall> all;
  for (const auto& log : logs_) all.insert(all.end(), log.begin(), log.end());
  std::sort(all.begin(), all.end(), [](const Stall& a, const Stall& b) { return a.ns < b.ns; });
  return all;
}

HiccupMeter::~HiccupMeter() {
  stop_.store(true);
  for (auto& thread : threads_) thread.join();
}

void BlockDriver::drive(const float* in, float* out, uint64_t frames, const std::vector<uint32_t>& blocks,
                        DriverResult* result) noexcept {
  const uint64_t rate = bridge_.config().sample_rate_hz;
  const size_t channels = bridge_.config().channels;
  const uint64_t start = monotonic_ns() + 10'000'000;
  result->start_ns = start;
  uint64_t done = 0;
  for (size_t k = 0; done < frames && !cancelled_.load(std::memory_order_relaxed); ++k) {
    const auto block = static_cast<uint32_t>(std::min<uint64_t>(blocks[k % blocks.size()], frames - done));
    const uint64_t end = done + block;
    const uint64_t due = start + end / rate * 1'000'000'000u + end % rate * 1'000'000'000u / rate;
    sleep_until(due);
    const uint64_t called = monotonic_ns();
    bridge_.process(in + done * channels, out + done * channels, block);
    const uint64_t returned = monotonic_ns();
    if (k < result->lateness_us.capacity()) {
      result->lateness_us.push_back(static_cast<float>(called - std::min(due, called)) * 1e-3f);
      result->process_us.push_back(static_cast<float>(returned - called) * 1e-3f);
    }
    done = end;
  }
  result->end_ns = monotonic_ns();
}

DriverResult BlockDriver::run(const float* in, float* out, uint64_t frames, const std::vector<uint32_t>& blocks) {
  uint64_t cycle = 0;
  for (const uint32_t block : blocks) cycle += block;
  if (blocks.empty() || cycle == 0) throw std::invalid_argument("blocks: expected at least one frame a cycle");
  const size_t count = static_cast<size_t>((frames / cycle + 1) * blocks.size());

  DriverResult result;
  result.lateness_us.reserve(count);
  result.process_us.reserve(count);
  rtbridge::BridgeLog log;
  log.round_trip_us.resize(count);
  log.misses.resize(count);
  bridge_.set_log(&log);
  {
    HiccupMeter meter(realtime_);
    std::thread host([&] {
      if (realtime_) sleep_until(monotonic_ns() + 2'000'000);  // the priority is set meanwhile
      drive(in, out, frames, blocks, &result);
    });
    result.realtime_granted = realtime_ && make_realtime(host, kDriverPriority);
    host.join();
    result.stalls = meter.stop();
  }
  bridge_.set_log(nullptr);
  log.round_trip_us.resize(log.round_trips);
  log.misses.resize(log.miss_count);
  result.round_trip_us = std::move(log.round_trip_us);
  result.misses = std::move(log.misses);
  return result;
}

}  // namespace rtstream
