// Zeroed, aligned memory for weights and histories, on huge pages where the system offers them: at 4 KiB a page, the
// 16 MB of a full decoder would miss the address-translation cache on every page of every sample.
#pragma once

#include <cstddef>
#include <memory>

namespace rtengine {

struct FreeMemory {
  void operator()(float* memory) const noexcept;
};
using Memory = std::unique_ptr<float[], FreeMemory>;

// `count` zeros, aligned to 64 bytes at least. Throws std::bad_alloc.
Memory allocate_floats(std::size_t count);

// [control thread] From now on, keep what is allocated from being swapped out, as far as RLIMIT_MEMLOCK reaches. For a
// process that may not lock everything.
void lock_allocations(bool on) noexcept;

}  // namespace rtengine
