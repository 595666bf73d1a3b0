// Rounding to nearest, denormals flushed, for the length of a scope. A host may leave its audio thread in any mode; the
// engine's bits must not depend on it, and denormals would cost a hundred cycles each.
#pragma once

#include <cstdint>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define RTENGINE_HAS_MXCSR 1
#endif

namespace rtengine {

class ScopedFloatMode {
 public:
#if defined(RTENGINE_HAS_MXCSR)
  ScopedFloatMode() noexcept : before_(_mm_getcsr()) { _mm_setcsr(0x9FC0u); }  // all masked, FTZ, DAZ, to nearest
  ~ScopedFloatMode() { _mm_setcsr(before_); }
#elif defined(__aarch64__) && !defined(_MSC_VER)
  ScopedFloatMode() noexcept {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    const std::uint64_t flushed = std::uint64_t{1} << 24;
    __asm__ volatile("msr fpcr, %0" : : "r"(flushed));
  }
  ~ScopedFloatMode() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }
#else
  ScopedFloatMode() noexcept {}
  ~ScopedFloatMode() {}
#endif
  ScopedFloatMode(const ScopedFloatMode&) = delete;
  ScopedFloatMode& operator=(const ScopedFloatMode&) = delete;

 private:
#if defined(RTENGINE_HAS_MXCSR)
  unsigned before_;
#elif defined(__aarch64__) && !defined(_MSC_VER)
  std::uint64_t before_;
#endif
};

}  // namespace rtengine
