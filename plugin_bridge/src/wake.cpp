#include "rtbridge/wake.h"

#include <algorithm>
#include <chrono>

#include "rtbridge/atomics.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <time.h>
// Private to libSystem until 14.4, unchanged since 10.12; the C++ library of the platform uses the same calls.
extern "C" int __ulock_wait(uint32_t operation, void* address, uint64_t value, uint32_t timeout_us);
extern "C" int __ulock_wake(uint32_t operation, void* address, uint64_t wake_value);
#elif defined(_WIN32)
#include <windows.h>
#endif

namespace rtbridge {

void wait_word(uint32_t& word, uint32_t expected, uint64_t timeout_ns, bool shared) noexcept {
#if defined(__linux__)
  timespec timeout{static_cast<time_t>(timeout_ns / 1000000000u), static_cast<long>(timeout_ns % 1000000000u)};
  syscall(SYS_futex, &word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, expected, &timeout, nullptr, 0);
#elif defined(__APPLE__)
  constexpr uint32_t kCompareAndWait = 1, kCompareAndWaitShared = 3;
  const uint64_t us = std::clamp<uint64_t>(timeout_ns / 1000, 1, UINT32_MAX);
  __ulock_wait(shared ? kCompareAndWaitShared : kCompareAndWait, &word, expected, static_cast<uint32_t>(us));
#elif defined(_WIN32)
  uint64_t ms = std::max<uint64_t>(timeout_ns / 1000000, 1);
  if (shared) ms = 1;  // WaitOnAddress knows one process only: poll
  WaitOnAddress(&word, &expected, sizeof word, static_cast<DWORD>(std::min<uint64_t>(ms, 0x7fffffff)));
#endif
}

void wake_word(uint32_t& word, bool shared) noexcept {
#if defined(__linux__)
  syscall(SYS_futex, &word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, 0x7fffffff, nullptr, nullptr, 0);
#elif defined(__APPLE__)
  constexpr uint32_t kCompareAndWait = 1, kCompareAndWaitShared = 3, kWakeAll = 0x100;
  __ulock_wake((shared ? kCompareAndWaitShared : kCompareAndWait) | kWakeAll, &word, 0);
#elif defined(_WIN32)
  (void)shared;
  WakeByAddressAll(&word);
#endif
}

uint32_t Wake::prepare() noexcept {
  const uint32_t token = load_field(*word_, std::memory_order_seq_cst);
  store_field(*waiting_, 1u, std::memory_order_seq_cst);
  return token;
}

void Wake::wait(uint32_t token, uint64_t timeout_ns) noexcept {
  wait_word(*word_, token, timeout_ns, shared_);
  cancel();
}

void Wake::cancel() noexcept { store_field(*waiting_, 0u, std::memory_order_seq_cst); }

void Wake::notify() noexcept {
  add_field(*word_, 1u, std::memory_order_seq_cst);
  if (load_field(*waiting_, std::memory_order_seq_cst) != 0) wake_word(*word_, shared_);
}

uint64_t monotonic_ns() noexcept {
#if defined(_WIN32)
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
#else
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
#endif
}

}  // namespace rtbridge
