// What the kernels of an encoder that runs once a hop work on: plain pointers into packed weights. The kernels know
// nothing of how these were made, so that a translation unit with its own instruction set holds loops and nothing else.
//
// W: rows in a vector. A matrix is cut into tiles of kHopTile vectors of rows, and of single vectors for what is left;
// a tile is stored column by column. Sums go through the columns in order, so that every vector set has the same bits.
#pragma once

namespace rtengine {

inline constexpr int kHopTile = 8;      // vectors
inline constexpr int kFilterGroup = 4;  // samples of a filter that are summed apart: shorter chains, smaller errors

// bias + sum over taps of weights x(tap)
struct HopProduct {
  int rows = 0;     // a multiple of W
  int columns = 0;  // a tap
  int taps = 1;
  const float* weights = nullptr;  // [rows, taps columns], in tiles
  const float* bias = nullptr;     // [rows]
};

// W filters, zeros before the windows of the shorter ones.
struct FilterTile {
  int samples = 0;                 // a multiple of kFilterGroup
  const float* weights = nullptr;  // [samples, 2, W]: cosines and sines, the newest sample last
};

struct HopKernels {
  int width;  // W
  // inputs [taps]: rows of [columns], the oldest first; y [rows].
  void (*product)(const HopProduct&, const float* const* inputs, float* y) noexcept;
  // Squared magnitudes [count W] of the audio that ends before `end`.
  void (*filters)(const FilterTile*, int count, const float* end, float* power) noexcept;
};

extern const HopKernels kScalarHopKernels;
#if defined(__x86_64__) || defined(_M_X64)
extern const HopKernels kAvx2HopKernels, kAvx512HopKernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
extern const HopKernels kNeonHopKernels;
#endif

}  // namespace rtengine
