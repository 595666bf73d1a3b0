// How many instructions a thread executes between two points, exactly: it steps through them one by one, which no other
// load of the machine can change. Some microseconds each, so time is worthless meanwhile. Linux on x86-64; elsewhere
// nothing is counted.
#pragma once
#include <cstdint>

namespace counting {

bool available();  // and prepares the process for it
void start();      // of [this thread]
uint64_t stop();   // instructions since; a system call is one

}  // namespace counting
