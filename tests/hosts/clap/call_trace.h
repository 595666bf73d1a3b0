// What a thread asks of the heap, of locks and of the kernel while it is traced: every malloc, free and lock of the
// process's C library is interposed, and a seccomp filter on the thread catches whatever reaches the kernel, by
// whatever way, except a wake-up (FUTEX_WAKE) and the end of the thread. Linux with glibc; elsewhere nothing is traced.
#pragma once
#include <string>

namespace trace {

// Of [this thread]. What is caught from now on is counted, and system calls fail with ENOSYS. There is no way back: the
// filter stays until the thread ends, and `disarm` only ends the counting. False where the kernel has no such filter.
bool arm();
void disarm();

// A JSON object: counts of allocations, frees, locks, signals (of condition variables and semaphores), and
// system_calls, {number: count}.
std::string report();

}  // namespace trace
