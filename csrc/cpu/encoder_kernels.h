// What the encoder's vector kernels work on: plain pointers into packed weights and one stream's memory. The kernels
// know nothing of how these were made, so that a translation unit with its own instruction set holds loops and nothing
// else.
//
// C channels and L latent channels, padded with zeros to whole vectors; k taps; T samples a hop. W: rows in a vector,
// of floats or of int32 sums. A group: the columns that one operation takes at once, 1 of floats, 2 of words or 4 of
// bytes. A matrix is cut into tiles of EncoderKernels::tile vectors of rows, and one of what is left; a tile is stored
// group by group, a group vector by vector, [W, group] each.
//
// Rows are samples. A ring of rows holds whole hops, so that the rows of a hop lie together; row n of a layer, counted
// from the stream's beginning, is at n modulo the rows of the ring. What a product of
// int8 reads is in memory as x + shift: x from -127 to 127 where it may be negative, else from 0 to 255.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtengine {

struct EncoderRing {
  std::size_t offset = 0;  // of its first row, in elements
  int rows = 0;
};

struct PackedProduct {
  int taps = 1;
  const void* weights = nullptr;       // [C, taps C]
  const float* bias = nullptr;         // [C]
  const float* scale = nullptr;        // [C]; int8 only
  const std::int32_t* base = nullptr;  // [C]: takes out what the offsets of the bytes add; int8 only
};

struct PackedEncoderLayer {
  int dilation = 1;
  int ahead = 0;                    // samples by which the output lags behind the input
  EncoderRing inputs;               // in EncoderMemory::inputs: what the convolution reads
  EncoderRing stream;               // in EncoderMemory::streams: what the layer adds to
  const float* to_units = nullptr;  // [C]; int8 only
  PackedProduct convolution, mix;
};

struct PackedEncoder {
  int c = 0, l = 0;
  int hop = 0;
  int taps = 0;
  int pending = 0;  // samples by which the end of the last layer's stream lags to fill whole hops
  bool pre_activation = false;
  int layer_count = 0;
  const PackedEncoderLayer* layers = nullptr;  // [layer_count + 1]: the last has a stream only
  const float* input = nullptr;                // [k, C]
  const float* input_bias = nullptr;           // [C]
  const float* latent = nullptr;               // [C, L]
  const float* latent_bias = nullptr;          // [L]
};

struct EncoderMemory {
  std::int64_t row = 0;      // first of this hop, counted from the stream's beginning
  float* samples = nullptr;  // [k - 1 + T]: network input, the hop last
  float* streams = nullptr;  // rings [rows, C]
  void* inputs = nullptr;    // rings [rows, C]
  void* hidden = nullptr;    // [T, C]
  float* mean = nullptr;     // [C]
  float* latent = nullptr;   // [L]
};

struct EncoderKernels {
  int width;                  // W
  int group;                  // columns
  int tile;                   // vectors
  std::size_t element_bytes;  // of weights and inputs
  int signed_shift;           // what is added in memory to numbers that may be negative,
  int unsigned_shift;         // and to others
  void (*input)(const PackedEncoder&, EncoderMemory&) noexcept;  // samples to the first layer's rings
  void (*layer)(const PackedEncoder&, int layer, EncoderMemory&) noexcept;
  void (*project)(const PackedEncoder&, EncoderMemory&) noexcept;  // the last ring to mean and latent
};

#if defined(__x86_64__) || defined(_M_X64)
extern const EncoderKernels kAvx2EncoderKernels, kAvx512EncoderKernels;
extern const EncoderKernels kAvx2Int8EncoderKernels, kAvxVnniInt8EncoderKernels, kAvx512VnniInt8EncoderKernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
extern const EncoderKernels kNeonEncoderKernels, kNeonInt8EncoderKernels, kNeonDotInt8EncoderKernels;
#endif

}  // namespace rtengine
