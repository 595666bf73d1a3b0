#include "call_trace.h"

#if defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    (defined(__x86_64__) || defined(__aarch64__))
#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {
constexpr int kCalls = 512;
thread_local bool armed = false;
std::atomic<int> allocations{0}, frees{0}, locks{0}, signals{0};
std::atomic<int> system_calls[kCalls];

void count(std::atomic<int>& counter) {
  if (armed) counter.fetch_add(1, std::memory_order_relaxed);
}

template <class Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}
void note_allocation() { count(allocations); }
void note_release() { count(frees); }
}  // namespace

#include "../../programs/interposed_heap.h"

extern "C" {
#define INTERPOSE(name, type, counter)                        \
  int name(type* object) {                                    \
    static const auto original = real<int (*)(type*)>(#name); \
    count(counter);                                           \
    return original(object);                                  \
  }
INTERPOSE(pthread_mutex_lock, pthread_mutex_t, locks)
INTERPOSE(pthread_mutex_trylock, pthread_mutex_t, locks)
INTERPOSE(pthread_rwlock_rdlock, pthread_rwlock_t, locks)
INTERPOSE(pthread_rwlock_wrlock, pthread_rwlock_t, locks)
INTERPOSE(pthread_rwlock_tryrdlock, pthread_rwlock_t, locks)
INTERPOSE(pthread_rwlock_trywrlock, pthread_rwlock_t, locks)
INTERPOSE(sem_wait, sem_t, locks)
INTERPOSE(sem_post, sem_t, signals)
INTERPOSE(pthread_cond_signal, pthread_cond_t, signals)
INTERPOSE(pthread_cond_broadcast, pthread_cond_t, signals)
#undef INTERPOSE
int pthread_spin_lock(pthread_spinlock_t* lock) {
  static const auto original = real<int (*)(pthread_spinlock_t*)>("pthread_spin_lock");
  count(locks);
  return original(lock);
}
}

namespace {

void on_forbidden_call(int, siginfo_t* info, void* context) {
  const int number = info->si_syscall;
  if (armed) system_calls[number >= 0 && number < kCalls ? number : kCalls - 1].fetch_add(1);
  auto* registers = &static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  registers->gregs[REG_RAX] = -ENOSYS;
#else
  registers->regs[0] = static_cast<unsigned long long>(-ENOSYS);
#endif
}

}  // namespace

namespace trace {

bool arm() {
  // Find the originals now: dlsym allocates.
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex), pthread_mutex_unlock(&mutex);
  pthread_mutex_trylock(&mutex), pthread_mutex_unlock(&mutex);
  pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
  pthread_rwlock_rdlock(&rwlock), pthread_rwlock_unlock(&rwlock);
  pthread_rwlock_wrlock(&rwlock), pthread_rwlock_unlock(&rwlock);
  pthread_rwlock_tryrdlock(&rwlock), pthread_rwlock_unlock(&rwlock);
  pthread_rwlock_trywrlock(&rwlock), pthread_rwlock_unlock(&rwlock);
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  sem_post(&semaphore), sem_wait(&semaphore);
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  pthread_cond_signal(&condition), pthread_cond_broadcast(&condition);
  pthread_spinlock_t spin;
  pthread_spin_init(&spin, 0);
  pthread_spin_lock(&spin), pthread_spin_unlock(&spin);

  struct sigaction action{};
  action.sa_sigaction = on_forbidden_call;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSYS, &action, nullptr);

#if defined(__x86_64__)
  constexpr uint32_t arch = AUDIT_ARCH_X86_64;
#else
  constexpr uint32_t arch = AUDIT_ARCH_AARCH64;
#endif
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offsetof(seccomp_data, field)))
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
  sock_filter program[] = {
      LOAD(arch),
      IF_EQUAL(arch, 0, 9),
      LOAD(nr),
      IF_EQUAL(SYS_rt_sigreturn, 6, 0),
      IF_EQUAL(SYS_exit, 5, 0),
      IF_EQUAL(SYS_exit_group, 4, 0),
      IF_EQUAL(SYS_futex, 0, 4),
      LOAD(args[1]),  // the low half: little-endian
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, FUTEX_CMD_MASK & 0xffu),
      IF_EQUAL(FUTEX_WAKE, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
#undef LOAD
#undef IF_EQUAL
  const sock_fprog filter = {sizeof program / sizeof program[0], program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) return false;
  armed = true;
  return true;
}

void disarm() { armed = false; }

std::string report() {
  std::string text = "{\"allocations\": " + std::to_string(allocations) + ", \"frees\": " + std::to_string(frees) +
                     ", \"locks\": " + std::to_string(locks) + ", \"signals\": " + std::to_string(signals) +
                     ", \"system_calls\": {";
  bool first = true;
  for (int i = 0; i < kCalls; ++i) {
    const int n = system_calls[i];
    if (n == 0) continue;
    text += (first ? "\"" : ", \"") + std::to_string(i) + "\": " + std::to_string(n);
    first = false;
  }
  return text + "}}";
}

}  // namespace trace

#else

namespace trace {
bool arm() { return false; }
void disarm() {}
std::string report() { return "{}"; }
}  // namespace trace

#endif
