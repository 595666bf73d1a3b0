#include "instruction_count.h"

#if defined(__linux__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <signal.h>

namespace {
thread_local volatile uint64_t steps = 0;
}

namespace counting {

bool available() {
  struct sigaction action{};
  action.sa_handler = [](int) { steps = steps + 1; };
  return sigaction(SIGTRAP, &action, nullptr) == 0;
}

// The trap flag. The stack below its pointer may be in use (red zone), and lea leaves the flags alone.
void start() {
  steps = 0;
  asm volatile("lea -128(%%rsp), %%rsp\n pushfq\n orq $0x100, (%%rsp)\n popfq\n lea 128(%%rsp), %%rsp" ::
                   : "memory", "cc");
}

uint64_t stop() {
  asm volatile("lea -128(%%rsp), %%rsp\n pushfq\n andq $~0x100, (%%rsp)\n popfq\n lea 128(%%rsp), %%rsp" ::
                   : "memory", "cc");
  return steps;
}

}  // namespace counting

#else

namespace counting {
bool available() { return false; }
void start() {}
uint64_t stop() { return 0; }
}  // namespace counting

#endif
