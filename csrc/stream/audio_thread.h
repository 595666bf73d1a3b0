// How the worker's native threads are scheduled: name, priority, cores. A thread arranges this for itself as it starts,
// and is on record while it runs, so that the process can ask a service for a priority that it may not take by itself.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace rtstream {

struct ThreadPlan {
  int highest_priority = 99;       // that this process may take by itself; 0: none
  std::vector<int> decoder_cores;  // an ensemble on each, negative: anywhere; empty: one ensemble, anywhere
  std::vector<int> other_cores;    // for all other real-time threads; empty: anywhere
};

// [control thread] For the threads that start from now on, of the whole process.
void set_thread_plan(ThreadPlan plan);
ThreadPlan thread_plan();

enum class Role { kReceive, kIntake, kSend, kRender, kBounce };

// Priorities keep their order in a process that may go no higher than `highest` (1 to 99).
int priority_within(int priority, int highest) noexcept;

struct ThreadRecord {
  int64_t id;              // the system's, as in /proc/self/task
  std::string name;        // as in /proc/self/task/*/comm: "rt-intake-3"
  int priority;            // that it should have, of SCHED_FIFO; 0: ordinary
  std::vector<int> cores;  // where it should run once it has that; empty: anywhere
};
std::vector<ThreadRecord> audio_threads();  // [control thread] that run now

// Lives on the stack of the thread that it arranges.
class AudioThread {
 public:
  // core: the only one it may run on; negative: where the plan says.
  AudioThread(Role role, int number, bool realtime, int core = -1) noexcept;
  ~AudioThread();
  AudioThread(const AudioThread&) = delete;
  AudioThread& operator=(const AudioThread&) = delete;

 private:
  int64_t id_ = 0;
};

// A real-time thread that never sleeps starves its core, until the kernel stops it for a while (sched_rt_runtime_us)
// or kills its process (RLIMIT_RTTIME, which rtkit demands). So one that has had no rest for kLongestRunNs takes some.
class Stamina {
 public:
  static constexpr uint64_t kLongestRunNs = 50'000'000, kRestNs = 2'500'000;  // 5 %, as the kernel would take

  void rested() noexcept;           // it has slept
  void rest_when_tired() noexcept;  // between two pieces of work

 private:
  uint64_t rested_ns_ = 0;
};

}  // namespace rtstream
