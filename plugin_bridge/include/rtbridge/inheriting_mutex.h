// A mutex whose holder inherits the priority of who waits for it: a control thread, which has none, must not keep a
// real-time thread waiting while other real-time threads keep it off the processor.
#pragma once
#include <mutex>

#if defined(__linux__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace rtbridge {

#if defined(__linux__) || defined(__APPLE__)

class InheritingMutex {
 public:
  InheritingMutex() noexcept {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&mutex_, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  ~InheritingMutex() { pthread_mutex_destroy(&mutex_); }
  InheritingMutex(const InheritingMutex&) = delete;
  InheritingMutex& operator=(const InheritingMutex&) = delete;
  void lock() noexcept { pthread_mutex_lock(&mutex_); }
  void unlock() noexcept { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_;
};

#else

using InheritingMutex = std::mutex;  // Windows raises a starved holder by itself

#endif

}  // namespace rtbridge
