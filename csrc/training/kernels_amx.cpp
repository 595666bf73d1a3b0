// The training kernels for AMX: matrix products of bfloat16, sums of float32. All else is that of AVX-512.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx512.h"
//
#include <algorithm>
#include <cstring>
#include <vector>

#include "training/kernels_vector.h"

namespace rttraining {
namespace {

constexpr int kTile = 16;              // rows of a tile, and columns of float32
constexpr int kDepth = 2 * kTile;      // of bfloat16: a tile of either factor
constexpr int kWords = kTile * kTile;  // 32 bits each, of a tile

// Eight tiles of 16 rows of 64 bytes: 0 to 3 hold sums, 4 and 5 rows of a, 6 and 7 columns of b.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr int pieces_of(int count, int step) { return (count + step - 1) / step; }

// Two rows of 16 floats as bfloat16, each pair of one column in a word.
RTENGINE_INLINE __m512i pairs(__m512 first, __m512 second) {
  alignas(64) static constexpr std::uint16_t kInterleaved[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                                 21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                                 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
  return _mm512_permutexvar_epi16(_mm512_load_si512(kInterleaved), both);
}

// 16 rows of 16 words become columns.
RTENGINE_INLINE void transpose(__m512i (&row)[kTile]) {
  __m512i t[kTile];
  for (int i = 0; i < kTile; i += 2) {
    t[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
  }
  for (int i = 0; i < kTile; i += 4) {
    row[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    row[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    row[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    row[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i)
    for (int half = 0; half < kTile; half += 8) {
      t[half + i] = _mm512_shuffle_i32x4(row[half + i], row[half + i + 4], 0x88);
      t[half + i + 4] = _mm512_shuffle_i32x4(row[half + i], row[half + i + 4], 0xdd);
    }
  for (int i = 0; i < 8; ++i) {
    row[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    row[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// b [depth, 16] as a tile wants it: pairs of rows in words. `depth` of up to 32; zeros follow.
RTENGINE_INLINE void tile_of_b(const float* b, std::ptrdiff_t step, int depth, __m512i (&row)[kTile]) {
  for (int k = 0; k < kTile; ++k) {
    const bool there = 2 * k < depth, next = 2 * k + 1 < depth;
    const __m512 first = there ? _mm512_loadu_ps(b + 2 * k * step) : _mm512_setzero_ps();
    const __m512 second = next ? _mm512_loadu_ps(b + (2 * k + 1) * step) : _mm512_setzero_ps();
    row[k] = pairs(first, second);
  }
}

// 16 rows of a, `depth` of up to 32; zeros follow.
RTENGINE_INLINE void tile_of_a(Factor a, int depth, __m512i (&row)[kTile]) {
  if (a.depth_step == 1) {
    const auto mask = [](int count) { return static_cast<__mmask16>((1u << std::clamp(count, 0, kTile)) - 1u); };
    const __mmask16 low = mask(depth), high = mask(depth - kTile);
    for (int i = 0; i < kTile; ++i) {
      const float* from = a.data + i * a.row_step;
      row[i] = reinterpret_cast<__m512i>(
          _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, from + kTile), _mm512_maskz_loadu_ps(low, from)));
    }
  } else {  // rows lie side by side: a [depth, 16] turned
    tile_of_b(a.data, a.depth_step, depth, row);
    transpose(row);
  }
}

// Tiles of the whole of a or b, those of one strip side by side.
std::uint32_t* room(std::vector<std::uint32_t>& memory, int tiles) {
  const std::size_t needed = static_cast<std::size_t>(tiles) * kWords + kTile;  // a line more, to begin at one
  if (memory.size() < needed) memory.resize(needed);
  const auto at = reinterpret_cast<std::uintptr_t>(memory.data());
  return memory.data() + (64 - at % 64) % 64 / sizeof(std::uint32_t);
}

RTENGINE_INLINE void store(std::uint32_t* to, const __m512i (&row)[kTile]) {
  for (int i = 0; i < kTile; ++i) _mm512_store_si512(to + i * kTile, row[i]);
}

// A x B tiles of c, which begin at `at`, from strips of so many tiles each.
template <int A, int B>
RTENGINE_INLINE void product(float* at, std::ptrdiff_t step, const std::uint32_t* a, const std::uint32_t* b,
                             int depth) {
  const std::ptrdiff_t bytes = step * static_cast<std::ptrdiff_t>(sizeof(float));
  const int strip = depth * kWords;
  float* const below = at + kTile * step;
  _tile_loadd(0, at, bytes);
  if constexpr (B > 1) _tile_loadd(1, at + kTile, bytes);
  if constexpr (A > 1) _tile_loadd(2, below, bytes);
  if constexpr (A > 1 && B > 1) _tile_loadd(3, below + kTile, bytes);
  for (int k = 0; k < depth; ++k, a += kWords, b += kWords) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (B > 1) {
      _tile_loadd(7, b + strip, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (A > 1) {
      _tile_loadd(5, a + strip, 64);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (A > 1 && B > 1) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, at, bytes);
  if constexpr (B > 1) _tile_stored(1, at + kTile, bytes);
  if constexpr (A > 1) _tile_stored(2, below, bytes);
  if constexpr (A > 1 && B > 1) _tile_stored(3, below + kTile, bytes);
}

void accumulate_bf16(float* c, std::ptrdiff_t c_step, int rows, int columns, Factor a, int depth, const float* b,
                     std::ptrdiff_t b_step) {
  const int whole = rows / kTile, wide = columns / kTile, deep = pieces_of(depth, kDepth);
  if (whole == 0 || depth < kTile) return accumulate(c, c_step, rows, columns, a, depth, b, b_step);
  static thread_local std::vector<std::uint32_t> of_a, of_b;
  std::uint32_t *const a_tiles = room(of_a, whole * deep), *const b_tiles = room(of_b, wide * deep);
  __m512i row[kTile];
  for (int k = 0; k < deep; ++k) {
    const int left = std::min(kDepth, depth - k * kDepth);
    for (int i = 0; i < whole; ++i) {
      const float* from = a.data + i * kTile * a.row_step + k * kDepth * a.depth_step;
      tile_of_a({from, a.row_step, a.depth_step}, left, row);
      store(a_tiles + (i * deep + k) * kWords, row);
    }
    for (int j = 0; j < wide; ++j) {
      tile_of_b(b + k * kDepth * b_step + j * kTile, b_step, left, row);
      store(b_tiles + (j * deep + k) * kWords, row);
    }
  }
  alignas(64) static constexpr TileShapes kShapes;
  _tile_loadconfig(&kShapes);
  for (int i = 0; i < whole; i += 2)
    for (int j = 0; j < wide; j += 2) {
      float* const at = c + i * kTile * c_step + j * kTile;
      const std::uint32_t *const a_strip = a_tiles + i * deep * kWords, *const b_strip = b_tiles + j * deep * kWords;
      const bool two_a = i + 1 < whole, two_b = j + 1 < wide;
      if (two_a && two_b)
        product<2, 2>(at, c_step, a_strip, b_strip, deep);
      else if (two_a)
        product<2, 1>(at, c_step, a_strip, b_strip, deep);
      else if (two_b)
        product<1, 2>(at, c_step, a_strip, b_strip, deep);
      else
        product<1, 1>(at, c_step, a_strip, b_strip, deep);
    }
  _tile_release();
  const int done = whole * kTile;
  if (done < rows)
    accumulate(c + done * c_step, c_step, rows - done, columns, {a.data + done * a.row_step, a.row_step, a.depth_step},
               depth, b, b_step);
}

}  // namespace

extern const Kernels kAmxKernels = kernels_with(accumulate_bf16);

}  // namespace rttraining
#endif
