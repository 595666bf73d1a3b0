#include "rtbridge/realtime.h"

#include <algorithm>

#if defined(__linux__) || defined(__APPLE__)
#include <pthread.h>
#include <sched.h>
#elif defined(_WIN32)
#include <windows.h>
#if defined(__MINGW32__)
#include <pthread.h>
#endif
#endif

namespace rtbridge {

bool make_realtime([[maybe_unused]] std::thread& thread, [[maybe_unused]] int priority) noexcept {
#if defined(__linux__) || defined(__APPLE__)
  sched_param parameters{};
  parameters.sched_priority = std::min(priority, sched_get_priority_max(SCHED_FIFO));
  return pthread_setschedparam(thread.native_handle(), SCHED_FIFO, &parameters) == 0;
#elif defined(_WIN32)
#if defined(__MINGW32__)  // a thread is a POSIX one there
  const HANDLE handle = pthread_gethandle(thread.native_handle());
#else
  const HANDLE handle = thread.native_handle();
#endif
  return SetThreadPriority(handle, THREAD_PRIORITY_TIME_CRITICAL) != 0;
#else
  return false;
#endif
}

}  // namespace rtbridge
