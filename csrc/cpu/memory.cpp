#include "cpu/memory.h"

#include <atomic>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rtengine {
namespace {

constexpr std::size_t kHugePage = std::size_t{1} << 21;
// From here on a huge page is taken whole, also for the rest after the last full one. Not for the address translations
// alone: small pages, scattered over memory, crowd some sets of the second-level cache, and a decoder that just fits
// there does not any more.
constexpr std::size_t kWorthHugePages = kHugePage / 4;
std::atomic<bool> lock_wanted{false};

}  // namespace

// One alignment for all sizes, so that freeing needs no record of which it was.
void FreeMemory::operator()(float* memory) const noexcept { ::operator delete[](memory, std::align_val_t{kHugePage}); }

Memory allocate_floats(std::size_t count) {
  std::size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
  const bool huge = bytes >= kWorthHugePages;
  if (huge) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* memory = ::operator new[](bytes, std::align_val_t{kHugePage});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (huge) madvise(memory, bytes, MADV_HUGEPAGE);  // a wish, free to fail
#endif
  std::memset(memory, 0, bytes);  // also brings every page in, before the audio thread meets it
#if defined(__linux__)
  if (lock_wanted.load(std::memory_order_relaxed)) mlock(memory, bytes);
#endif
  return Memory(static_cast<float*>(memory));
}

void lock_allocations(bool on) noexcept { lock_wanted.store(on, std::memory_order_relaxed); }

}  // namespace rtengine
