// Counts what a thread asks of the heap, of locks and of the kernel while it is `armed`. Linux with glibc only; include
// in one source of a program. Without the interposed functions (sanitizers have their own) nothing is counted.
#pragma once
#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

namespace watched {
inline thread_local bool armed = false;
inline std::atomic<int> allocations{0}, locks{0}, waits{0}, kernel_calls{0};
inline void clear() { allocations = locks = waits = kernel_calls = 0; }

// From now on the kernel itself refuses this thread every call but waking others, sleeping (for the pace of the test;
// interposed and counted) and ending, and counts it.
inline bool confine_thread() {
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  action.sa_sigaction = [](int, siginfo_t*, void*) { kernel_calls.fetch_add(1); };
  sigaction(SIGSYS, &action, nullptr);
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_nanosleep, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAKE, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  sock_fprog filter{sizeof program / sizeof program[0], program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}
}  // namespace watched

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
template <class Function>
static Function* watched_real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

static void watched_count(std::atomic<int>& counter) {
  if (watched::armed) counter.fetch_add(1, std::memory_order_relaxed);
}
static void note_allocation() { watched_count(watched::allocations); }
static void note_release() { note_allocation(); }
#include "../programs/interposed_heap.h"

extern "C" {
int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static auto* real = watched_real<int(pthread_mutex_t*)>("pthread_mutex_lock");
  return watched_count(watched::locks), real(mutex);
}
int clock_nanosleep(clockid_t clock, int flags, const timespec* until, timespec* left) {
  static auto* real = watched_real<int(clockid_t, int, const timespec*, timespec*)>("clock_nanosleep");
  return watched_count(watched::waits), real(clock, flags, until, left);
}
int nanosleep(const timespec* time, timespec* left) {
  static auto* real = watched_real<int(const timespec*, timespec*)>("nanosleep");
  return watched_count(watched::waits), real(time, left);
}
// Every wake-up and every sleep of the bridge goes through here.
long syscall(long number, ...) {
  static auto* real = watched_real<long(long, ...)>("syscall");
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& value : a) value = va_arg(list, long);
  va_end(list);
  if (!(number == SYS_futex && (a[1] & 127) == FUTEX_WAKE)) watched_count(watched::waits);
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
}
#endif
