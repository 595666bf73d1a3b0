// How the kernels are inlined and their loops unrolled. In an unnamed namespace and free of the standard library: an
// inline function compiled for one instruction set must never be the one the linker keeps for all.
#pragma once

#if defined(_MSC_VER)
#define RTENGINE_INLINE __forceinline
#define RTENGINE_LAMBDA
#if defined(_M_ARM64)
#define RTENGINE_PREFETCH(address) __prefetch(address)
#else
#define RTENGINE_PREFETCH(address) _mm_prefetch(address, _MM_HINT_T0)
#endif
#else
#define RTENGINE_INLINE inline __attribute__((always_inline))
#define RTENGINE_LAMBDA __attribute__((always_inline))
#define RTENGINE_PREFETCH(address) __builtin_prefetch(address)  // not in a function: GCC 12 would take it for pure
#endif

namespace rtengine {
namespace {

template <int I>
struct Index {
  static constexpr int value = I;
};

// f(Index<0>), ..., f(Index<N - 1>): with constant indices, arrays of sums live in registers.
template <int N, int I = 0, class F>
RTENGINE_INLINE void unroll(const F& f) {
  if constexpr (I < N) {
    f(Index<I>{});
    unroll<N, I + 1>(f);
  }
}

}  // namespace
}  // namespace rtengine
