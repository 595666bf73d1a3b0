// What a warp's 32 lanes compute with, in two meanings of the same source. Compiled by nvcc, `Lanes<T>` is one thread's
// T and the hardware is the warp; compiled as C++, it is all 32 values, one warp runs at a time, and what lanes do
// together (shuffles, votes) is a permutation of an array. So kernels are written without branches on the lane:
// select() and masked loads and stores take their place.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define RTCUDA_DEVICE __device__ __forceinline__
#define RTCUDA_SHARED __host__ __device__ __forceinline__  // by the host too
#define RTCUDA_UNROLL _Pragma("unroll")
#else
#include <cmath>
#include <cstring>
#include <type_traits>
#define RTCUDA_DEVICE inline
#define RTCUDA_SHARED inline
#define RTCUDA_UNROLL
#endif

namespace rtcuda {

inline constexpr int kLanes = 32;

#if defined(__CUDACC__)

template <class T>
using Lanes = T;
using Floats = float;
using Ints = int;
using Words = std::uint32_t;
using Mask = bool;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;

RTCUDA_DEVICE Ints lane_index() { return static_cast<int>(threadIdx.x) & (kLanes - 1); }
template <class T>
RTCUDA_DEVICE T select(bool which, T yes, T no) {
  return which ? yes : no;
}
RTCUDA_DEVICE float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
RTCUDA_DEVICE float greater_of(float a, float b) { return fmaxf(a, b); }
RTCUDA_DEVICE float lesser_of(float a, float b) { return fminf(a, b); }
RTCUDA_DEVICE float to_nearest(float x) { return rintf(x); }
RTCUDA_DEVICE int to_int(float x) { return static_cast<int>(x); }
RTCUDA_DEVICE float to_float(int x) { return static_cast<float>(x); }
RTCUDA_DEVICE std::uint32_t bits_of(float x) { return __float_as_uint(x); }
RTCUDA_DEVICE float float_of(std::uint32_t bits) { return __uint_as_float(bits); }
RTCUDA_DEVICE std::uint32_t to_word(int x) { return static_cast<std::uint32_t>(x); }
RTCUDA_DEVICE int to_signed(std::uint32_t x) { return static_cast<int>(x); }
// 2^x and a / b of the special function unit, a few units in the last place off.
RTCUDA_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
RTCUDA_DEVICE float fast_divide(float a, float b) { return __fdividef(a, b); }
// The lower half of a word, as IEEE half precision, in float32.
RTCUDA_DEVICE float half_of(std::uint32_t word) {
  float y;
  asm("{.reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h;}" : "=f"(y) : "r"(word));
  return y;
}

RTCUDA_DEVICE float shuffle(float x, int source) { return __shfl_sync(kAllLanes, x, source); }
RTCUDA_DEVICE int shuffle(int x, int source) { return __shfl_sync(kAllLanes, x, source); }
RTCUDA_DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(kAllLanes, x, mask); }
RTCUDA_DEVICE int shuffle_xor(int x, int mask) { return __shfl_xor_sync(kAllLanes, x, mask); }
RTCUDA_DEVICE std::uint32_t votes(bool x) { return __ballot_sync(kAllLanes, x); }
// What all lanes hold alike, as the plain value.
template <class T>
RTCUDA_DEVICE T uniform_value(T x) {
  return x;
}

template <class T>
RTCUDA_DEVICE T load(const T* from, int index) {
  return from[index];
}
// A field of the structure that each lane picks.
template <class S, class T>
RTCUDA_DEVICE T field(const S* from, int index, T S::* which) {
  return from[index].*which;
}
template <class T>
RTCUDA_DEVICE T load_if(bool wanted, T* from, std::int64_t index) {
  return wanted ? from[index] : T{};
}
template <class T>
RTCUDA_DEVICE void store_if(bool wanted, T* to, std::int64_t index, T value) {
  if (wanted) to[index] = value;
}
using Offsets = std::int64_t;
RTCUDA_DEVICE Offsets to_offset(int x) { return x; }

// Four words of 16 bytes.
struct Quad {
  Words w[4];
};
struct alignas(16) QuadWords {
  std::uint32_t w[4];
};
RTCUDA_DEVICE Quad load_quad(const QuadWords* from, int index) {
  const uint4 q = reinterpret_cast<const uint4*>(from)[index];
  return {{q.x, q.y, q.z, q.w}};
}
RTCUDA_DEVICE void store_quad(QuadWords* to, int index, const Quad& q) {
  reinterpret_cast<uint4*>(to)[index] = make_uint4(q.w[0], q.w[1], q.w[2], q.w[3]);
}

#else

template <class T>
struct Lanes {
  T v[kLanes];
  Lanes() = default;
  Lanes(T all) {  // NOLINT: a plain value is the same in every lane
    for (T& x : v) x = all;
  }
};
using Floats = Lanes<float>;
using Ints = Lanes<int>;
using Words = Lanes<std::uint32_t>;
using Mask = Lanes<bool>;
using Offsets = Lanes<std::int64_t>;

template <class R, class F>
inline Lanes<R> each_lane(const F& f) {
  Lanes<R> out;
  for (int i = 0; i < kLanes; ++i) out.v[i] = f(i);
  return out;
}
#define RTCUDA_OPERATOR(T, R, op)                                                  \
  inline Lanes<R> operator op(const Lanes<T>& a, const Lanes<T>& b) {              \
    return each_lane<R>([&](int i) { return R(a.v[i] op b.v[i]); });               \
  }                                                                                \
  inline Lanes<R> operator op(const Lanes<T>& a, T b) { return a op Lanes<T>(b); } \
  inline Lanes<R> operator op(T a, const Lanes<T>& b) { return Lanes<T>(a) op b; }
RTCUDA_OPERATOR(float, float, +)
RTCUDA_OPERATOR(float, float, -)
RTCUDA_OPERATOR(float, float, *)
RTCUDA_OPERATOR(float, bool, ==)
RTCUDA_OPERATOR(float, bool, >)
RTCUDA_OPERATOR(float, bool, <=)
RTCUDA_OPERATOR(int, int, +)
RTCUDA_OPERATOR(int, int, -)
RTCUDA_OPERATOR(int, int, *)
RTCUDA_OPERATOR(int, int, /)
RTCUDA_OPERATOR(int, int, %)
RTCUDA_OPERATOR(int, bool, ==)
RTCUDA_OPERATOR(int, bool, <)
RTCUDA_OPERATOR(std::uint32_t, std::uint32_t, &)
RTCUDA_OPERATOR(std::uint32_t, std::uint32_t, |)
RTCUDA_OPERATOR(std::uint32_t, std::uint32_t, +)
RTCUDA_OPERATOR(std::uint32_t, bool, ==)
RTCUDA_OPERATOR(std::int64_t, std::int64_t, &)
RTCUDA_OPERATOR(std::int64_t, bool, <)
RTCUDA_OPERATOR(std::int16_t, bool, ==)
RTCUDA_OPERATOR(std::int64_t, std::int64_t, +)
RTCUDA_OPERATOR(std::int64_t, std::int64_t, *)
RTCUDA_OPERATOR(bool, bool, &&)
RTCUDA_OPERATOR(bool, bool, ||)
#undef RTCUDA_OPERATOR
inline Mask operator!(const Mask& a) {
  return each_lane<bool>([&](int i) { return !a.v[i]; });
}
inline Words operator<<(const Words& a, int b) {
  return each_lane<std::uint32_t>([&](int i) { return a.v[i] << b; });
}
inline Words operator>>(const Words& a, int b) {
  return each_lane<std::uint32_t>([&](int i) { return a.v[i] >> b; });
}

inline Ints lane_index() {
  return each_lane<int>([](int i) { return i; });
}
template <class T>
inline Lanes<T> select(const Mask& which, const Lanes<T>& yes, const Lanes<T>& no) {
  return each_lane<T>([&](int i) { return which.v[i] ? yes.v[i] : no.v[i]; });
}
inline Floats multiply_add(const Floats& a, const Floats& b, const Floats& c) {
  return each_lane<float>([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline Floats greater_of(const Floats& a, const Floats& b) {
  return each_lane<float>([&](int i) { return std::fmax(a.v[i], b.v[i]); });
}
inline Floats lesser_of(const Floats& a, const Floats& b) {
  return each_lane<float>([&](int i) { return std::fmin(a.v[i], b.v[i]); });
}
inline Floats to_nearest(const Floats& a) {
  return each_lane<float>([&](int i) { return std::nearbyint(a.v[i]); });
}
inline Ints to_int(const Floats& a) {
  return each_lane<int>([&](int i) { return static_cast<int>(a.v[i]); });
}
inline Floats to_float(const Ints& a) {
  return each_lane<float>([&](int i) { return static_cast<float>(a.v[i]); });
}
inline std::uint32_t bits_of_one(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float float_of_one(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline Words bits_of(const Floats& a) {
  return each_lane<std::uint32_t>([&](int i) { return bits_of_one(a.v[i]); });
}
inline Floats float_of(const Words& a) {
  return each_lane<float>([&](int i) { return float_of_one(a.v[i]); });
}
inline Words to_word(const Ints& a) {
  return each_lane<std::uint32_t>([&](int i) { return static_cast<std::uint32_t>(a.v[i]); });
}
inline Ints to_signed(const Words& a) {
  return each_lane<int>([&](int i) { return static_cast<int>(a.v[i]); });
}
inline Floats fast_exp2(const Floats& a) {
  return each_lane<float>([&](int i) { return std::exp2(a.v[i]); });
}
inline Floats fast_divide(const Floats& a, const Floats& b) {
  return each_lane<float>([&](int i) { return a.v[i] / b.v[i]; });
}
inline float half_of_one(std::uint32_t word) {
  const std::uint32_t sign = (word & 0x8000u) << 16, magnitude = word & 0x7FFFu;
  if (magnitude >= 0x7C00u) return float_of_one(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  // The exponent's bias moves from 15 to 127 by a product that is exact for denormals too.
  return float_of_one(sign | magnitude << 13) * 0x1p112f;
}
inline Floats half_of(const Words& a) {
  return each_lane<float>([&](int i) { return half_of_one(a.v[i]); });
}

template <class T>
inline Lanes<T> shuffle(const Lanes<T>& a, const Ints& source) {
  return each_lane<T>([&](int i) { return a.v[source.v[i] & (kLanes - 1)]; });
}
template <class T>
inline Lanes<T> shuffle_xor(const Lanes<T>& a, int mask) {
  return each_lane<T>([&](int i) { return a.v[i ^ mask]; });
}
inline std::uint32_t votes(const Mask& a) {
  std::uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<std::uint32_t>(a.v[i]) << i;
  return bits;
}
template <class T>
inline T uniform_value(const Lanes<T>& a) {
  return a.v[0];
}

template <class T>
inline Lanes<T> load(const T* from, const Ints& index) {
  return each_lane<T>([&](int i) { return from[index.v[i]]; });
}
template <class S, class T>
inline Lanes<T> field(const S* from, const Ints& index, T S::* which) {
  return each_lane<T>([&](int i) { return from[index.v[i]].*which; });
}
template <class T>
inline Lanes<std::remove_const_t<T> > load_if(const Mask& wanted, const Lanes<T*>& from, const Offsets& index) {
  return each_lane<std::remove_const_t<T> >([&](int i) { return wanted.v[i] ? from.v[i][index.v[i]] : T{}; });
}
template <class T>
inline void store_if(const Mask& wanted, const Lanes<T*>& to, const Offsets& index, const Lanes<T>& value) {
  for (int i = 0; i < kLanes; ++i)
    if (wanted.v[i]) to.v[i][index.v[i]] = value.v[i];
}
inline Offsets to_offset(const Ints& a) {
  return each_lane<std::int64_t>([&](int i) { return std::int64_t{a.v[i]}; });
}

struct Quad {
  Words w[4];
};
struct alignas(16) QuadWords {
  std::uint32_t w[4];
};
inline Quad load_quad(const QuadWords* from, const Ints& index) {
  Quad out;
  for (int k = 0; k < 4; ++k) out.w[k] = each_lane<std::uint32_t>([&](int i) { return from[index.v[i]].w[k]; });
  return out;
}
inline void store_quad(QuadWords* to, const Ints& index, const Quad& q) {
  for (int i = 0; i < kLanes; ++i)
    for (int k = 0; k < 4; ++k) to[index.v[i]].w[k] = q.w[k].v[i];
}

#endif

}  // namespace rtcuda
