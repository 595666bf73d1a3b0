// What the vector kernels work on: plain pointers into packed weights and one slot's memory. The kernels know nothing
// of how these were made, so that a translation unit with its own instruction set holds loops and nothing else.
//
// R, S, L: residual, skip and latent channels, padded with zeros to a whole number of vectors (and of kColumns).
// W: floats in a vector. A packed matrix [rows, columns] is cut into tiles of 8, 4, 2 or 1 vectors of rows, largest
// first; a tile is stored column by column, so that a product with a vector reads it from front to back. Matrices of
// bfloat16 are stored by pairs of columns: words with the even column's weights in their lower halves and the odd
// one's in their upper halves, which a shift and a mask widen.
//
// The 2R rows of a gated convolution are interleaved by vectors: gate 0, content 0, gate 1, content 1, ...
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtengine {

inline constexpr int kColumns = 8;      // columns of every matrix are a multiple
inline constexpr int kTileVectors = 8;  // rows of the largest tile: as many sums as hide the latency of a multiply-add

// Matrices hold what the kernels were made for, float or Bf16; vectors are float always.
struct PackedLayer {
  int dilation = 1;
  int batch = 1;                         // samples whose past taps are computed at once: min(dilation, kChunkSamples)
  std::size_t history = 0;               // where the ring [dilation, R] starts in SlotMemory::histories
  std::size_t past_sums = 0;             // where [batch, 2R] starts in SlotMemory::past_sums
  const void* latent = nullptr;          // [2R, L]
  const float* bias = nullptr;           // [2R], of the dilated and of the latent convolution
  const void* past = nullptr;            // [2R, R]
  const void* now = nullptr;             // [2R, R]
  const void* skip = nullptr;            // [S, R]
  const void* residual = nullptr;        // [R, R]; the last layer's has no use
  const float* residual_bias = nullptr;  // [R]
};

struct PackedDecoder {
  int r = 0, s = 0, l = 0;
  int layer_count = 0;
  const PackedLayer* layers = nullptr;
  const float* input_older = nullptr;   // [R]
  const float* input_newer = nullptr;   // [R]
  const float* input_bias = nullptr;    // [R]
  const float* skip_older = nullptr;    // [S]: input_skip after input, one linear map of the two inputs
  const float* skip_newer = nullptr;    // [S]
  const float* skip_bias = nullptr;     // [S], with the skip biases of all layers
  const void* output = nullptr;         // [S, S]
  const void* output_latent = nullptr;  // [S, L]
  const float* output_bias = nullptr;   // [S], of the output and its latent projection
  const void* logits = nullptr;         // [256, S]
  const float* logits_bias = nullptr;   // [256]
};

struct SlotMemory {
  std::uint64_t position = 0;
  float* latent = nullptr;               // [L]
  float* conditioning = nullptr;         // [layers, 2R]
  float* output_conditioning = nullptr;  // [S]
  float* histories = nullptr;            // a ring a layer; the slot of sample t is t % dilation
  float* past_sums = nullptr;            // a layer: the past taps of the samples from t - t % batch on
  float* z = nullptr;                    // [2, R]: of the even and of the odd layers
  float* skip = nullptr;                 // [S]
  float* hidden = nullptr;               // [S]
  float* logits = nullptr;               // [256]
  float* probabilities = nullptr;        // [256], not normalised
};

struct VectorKernels {
  int width;
  std::size_t weight_bytes;  // of one weight of a matrix: 4, or 2 for Bf16
  void (*begin_hop)(const PackedDecoder&, SlotMemory&) noexcept;
  void (*step)(const PackedDecoder&, SlotMemory&, float older, float newer) noexcept;
  int (*sample)(SlotMemory&, float temperature, float uniform) noexcept;
  int (*most_probable)(const SlotMemory&) noexcept;
  float (*read)(const float* memory, std::size_t count) noexcept;  // sum of 64-byte lines, for the roofline
};

#if defined(__x86_64__) || defined(_M_X64)
extern const VectorKernels kAvx2Kernels, kAvx2Bf16Kernels;
extern const VectorKernels kAvx512Kernels, kAvx512Bf16Kernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
extern const VectorKernels kNeonKernels, kNeonBf16Kernels;
#endif

}  // namespace rtengine
