#include "rtbridge/realtime.h"

#include <algorithm>

#if defined(__linux__) || defined(__APPLE__)
#include <pthread.h>
#include <sched.h>
#elif defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#endif

namespace rtbridge {

bool make_realtime([[maybe_unused]] std::thread& thread, [[maybe_unused]] int priority) noexcept {
#if defined(__linux__) || defined(__APPLE__)
  sched_param parameters{};
  parameters.sched_priority = std::min(priority, sched_get_priority_max(SCHED_FIFO));
  return pthread_setschedparam(thread.native_handle(), SCHED_FIFO, &parameters) == 0;
#elif defined(_WIN32)
  return SetThreadPriority(thread.native_handle(), THREAD_PRIORITY_TIME_CRITICAL) != 0;
#else
  return false;
#endif
}

}  // namespace rtbridge
