// Sleep until a 32-bit word changes, within a process or across two: futex (Linux), os_sync (macOS 14.4),
// WaitOnAddress (Windows, within a process only, so waits there are cut into short ones). The waker never blocks.
#pragma once
#include <cstdint>

namespace rtbridge {

// Sleeps while `word == expected`, at most `timeout_ns`. May return early for no reason: callers check again.
void wait_word(uint32_t& word, uint32_t expected, uint64_t timeout_ns, bool shared) noexcept;
// [audio-thread, one non-blocking system call] Wakes everybody who sleeps on `word`.
void wake_word(uint32_t& word, bool shared) noexcept;

// A word with its count of sleepers, so that nobody pays for a wake-up that nobody waits for.
// Waiter: token = prepare(); re-check the condition; wait(token). Waker: publish the data; notify().
// All accesses to the two words are sequentially consistent: either the waker sees the sleeper, or the sleeper
// sees the bumped word.
class Wake {
 public:
  Wake(uint32_t& word, uint32_t& waiting, bool shared) noexcept : word_(&word), waiting_(&waiting), shared_(shared) {}
  uint32_t prepare() noexcept;                              // [one waiting thread]
  void wait(uint32_t token, uint64_t timeout_ns) noexcept;  // [one waiting thread]
  void cancel() noexcept;                                   // [one waiting thread] instead of wait()
  void notify() noexcept;                                   // [any thread, wait-free]

 private:
  uint32_t* word_;
  uint32_t* waiting_;
  bool shared_;
};

// A Wake with words of its own, for threads of one process.
class LocalWake {
 public:
  uint32_t prepare() noexcept { return wake_.prepare(); }
  void wait(uint32_t token, uint64_t timeout_ns) noexcept { wake_.wait(token, timeout_ns); }
  void cancel() noexcept { wake_.cancel(); }
  void notify() noexcept { wake_.notify(); }

 private:
  alignas(64) uint32_t word_ = 0;
  uint32_t waiting_ = 0;
  Wake wake_{word_, waiting_, false};
};

uint64_t monotonic_ns() noexcept;  // CLOCK_MONOTONIC: the same clock in every process of the machine

}  // namespace rtbridge
