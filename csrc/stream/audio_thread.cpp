#include "stream/audio_thread.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <thread>

#include "rtbridge/inheriting_mutex.h"
#include "rtbridge/realtime.h"
#include "rtbridge/wake.h"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

namespace rtstream {
namespace {

struct Kind {
  const char* name;
  int priority;
};

// Who goes first when all are due: see rtbridge/realtime.h. A bounce has time, and yields to everything.
Kind kind_of(Role role) noexcept {
  switch (role) {
    case Role::kReceive:
      return {"rt-receive", rtbridge::kReceivePriority};
    case Role::kIntake:
      return {"rt-intake", 72};
    case Role::kSend:
      return {"rt-send", rtbridge::kSendPriority};
    case Role::kRender:
      return {"rt-render", 70};
    case Role::kBounce:
      break;
  }
  return {"rt-bounce", 0};
}

struct Registry {
  rtbridge::InheritingMutex mutex;
  ThreadPlan plan;
  std::vector<ThreadRecord> threads;
};

Registry& registry() {
  static Registry* const one = new Registry;  // never destroyed: threads may outlast static objects
  return *one;
}

#if defined(__linux__)
void restrict_to(const std::vector<int>& cores) noexcept {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores)
    if (core >= 0 && core < CPU_SETSIZE) CPU_SET(core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // refused: it runs where the system puts it
}
#endif

}  // namespace

void set_thread_plan(ThreadPlan plan) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  r.plan = std::move(plan);
}

ThreadPlan thread_plan() {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  return r.plan;
}

std::vector<ThreadRecord> audio_threads() {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  return r.threads;
}

int priority_within(int priority, int highest) noexcept {
  if (priority <= 0 || highest <= 0) return 0;
  constexpr int kTop = rtbridge::kReceivePriority;
  if (highest >= kTop) return priority;
  // The four of the audio path stay distinct, the encoder (40) and what is below it follow them.
  const int rank = priority > kTop - 4 ? kTop - priority : priority >= 40 ? 4 : 5;
  return std::max(1, highest - std::max(0, rank));
}

AudioThread::AudioThread(Role role, int number, bool realtime, int core) noexcept {
  const Kind kind = kind_of(role);
  char name[16];  // the kernel keeps 15 letters
  std::snprintf(name, sizeof name, "%s-%d", kind.name, number);
#if defined(__linux__)
  id_ = syscall(SYS_gettid);
  pthread_setname_np(pthread_self(), name);
#elif defined(__APPLE__)
  uint64_t id = 0;
  pthread_threadid_np(nullptr, &id);
  id_ = static_cast<int64_t>(id);
  pthread_setname_np(name);
#endif
  const int wanted = realtime ? kind.priority : 0;
  int highest = 0;
  std::vector<int> cores;
  try {
    Registry& r = registry();
    const std::lock_guard lock(r.mutex);
    highest = r.plan.highest_priority;
    if (wanted > 0) cores = core >= 0 ? std::vector<int>{core} : r.plan.other_cores;
    r.threads.push_back({id_, name, wanted, cores});
  } catch (...) {  // out of memory: it goes unrecorded
  }
#if defined(__linux__) || defined(__APPLE__)
  sched_param parameters{};
  if (wanted > 0 && highest > 0) {
    parameters.sched_priority = priority_within(wanted, highest);
    // Only what comes before everything else may be tied to a core: an ordinary thread would wait there behind whatever
    // else has more right to it, while other cores are free.
    [[maybe_unused]] const bool granted = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters) == 0;
#if defined(__linux__)
    if (granted) restrict_to(cores);
#endif
  } else if (role == Role::kBounce) {  // its maker's priority is not for it
    pthread_setschedparam(pthread_self(), SCHED_OTHER, &parameters);
  }
#endif
}

AudioThread::~AudioThread() {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  std::erase_if(r.threads, [&](const ThreadRecord& record) { return record.id == id_; });
}

void Stamina::rested() noexcept { rested_ns_ = rtbridge::monotonic_ns(); }

void Stamina::rest_when_tired() noexcept {
  if (rested_ns_ == 0) rested();
  if (rtbridge::monotonic_ns() - rested_ns_ < kLongestRunNs) return;
  std::this_thread::sleep_for(std::chrono::nanoseconds(kRestNs));
  rested();
}

}  // namespace rtstream
