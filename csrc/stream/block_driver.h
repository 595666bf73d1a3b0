// Plays the host for benchmarks and the demo: hands blocks to a bridge at the pace of a sound card, and watches the
// machine meanwhile, so that a miss can be told from a stall of the machine itself.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "rtbridge/bridge.h"

namespace rtstream {

struct Stall {
  uint64_t ns;        // CLOCK_MONOTONIC when the thread ought to have run
  uint64_t stall_ns;  // how much later it did
  int core;
};

// A thread a core at the highest priority we use, that sleeps a millisecond at a time and notes when the machine did
// not let it run within half a millisecond.
class HiccupMeter {
 public:
  explicit HiccupMeter(bool realtime);
  ~HiccupMeter();
  bool realtime_granted() const noexcept { return granted_; }
  std::vector<Stall> stop();  // in order of time

 private:
  void watch(int core, std::vector<Stall>* log) noexcept;
  std::atomic<bool> stop_{false};
  bool granted_ = true;
  std::vector<std::vector<Stall>> logs_;
  std::vector<std::thread> threads_;
};

struct DriverResult {
  std::vector<float> round_trip_us;  // block handed in to its translation published
  std::vector<float> lateness_us;    // block's call after its time on the sound card's clock
  std::vector<float> process_us;     // duration of process()
  std::vector<rtbridge::MissEvent> misses;
  std::vector<Stall> stalls;
  uint64_t start_ns = 0, end_ns = 0;
  bool realtime_granted = false;
};

class BlockDriver {
 public:
  BlockDriver(rtbridge::Bridge& bridge, bool realtime) : bridge_(bridge), realtime_(realtime) {}
  // Blocks of the given sizes in turn until all `frames` have passed; the last may be shorter. Block k is handed in
  // when its last frame would have been captured. Returns early after cancel().
  DriverResult run(const float* in, float* out, uint64_t frames, const std::vector<uint32_t>& blocks);
  void cancel() noexcept { cancelled_.store(true); }  // [any thread]

 private:
  void drive(const float* in, float* out, uint64_t frames, const std::vector<uint32_t>& blocks,
             DriverResult* result) noexcept;
  rtbridge::Bridge& bridge_;
  const bool realtime_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace rtstream
