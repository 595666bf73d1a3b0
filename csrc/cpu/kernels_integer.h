// What the integer kernels (int8 and int4) work on: plain pointers into packed weights and one slot's memory, as
// kernels.h has for floats.
//
// Numbers. Weights are int8 with a scale a row. z, bounded by 1, is int8: round(127 z). An input x of a dilated
// convolution is int8 too: a channel's greatest magnitude, measured in float32 (the calibration), is 127, and what goes
// beyond saturates. So with one scale for both taps
//
//   gate and content = scale * (dot(now, x[t]) + dot(past, x[t - d]) + base)
//
// with latent and biases in `base`. In int4 the weights that every sample reads (current taps, residual, skip) are
// codes from -8 to 7, and the current taps have a scale of their own:
//
//   gate and content = now_scale * dot(now, x[t]) + scale * (dot(past, x[t - d]) + base)
//
// The residual stream from layer to layer and the skip sum stay float32. Every sum of integers is exact: the kernels of
// all instruction sets, whatever the order of their additions, have the same bits.
//
// R, S, L: residual, skip and latent channels, R and S padded to a multiple of 16 (int4: 32). A unit is [16 rows, 4
// columns] of a matrix in 64 bytes, on every instruction set. A matrix is cut into tiles of kTileUnits (8 or 4), ..., 2
// or 1 units of rows, largest first; a tile is stored by groups of 4 columns. The 2R rows of a gated convolution are
// interleaved by units: gate 0, content 0, gate 1, ... and scaled by -log2(e) and -2 log2(e), as in kernels.h. In int4
// two units share their 64 bytes: see weights_nibbles.h.
//
// The trait `Int8` of an instruction set (int8_avx2.h, ...): `Int` is a vector of kWidth int32 sums. dot(sums, x, w)
// adds to each sum four products of (x + kOffset), `x + kOffset` being bytes in memory and x in [-128, 127], and w, in
// [-127, 127]. kSums: how many sums a product keeps in registers. kTileUnits: rows of the largest tile; with those of
// one product, its weights are read from front to back. kFused: whether there is room for as many sums more. Where
// kInverts, w is replaced by -w - 1 with every negative x, and each sum is short of the magnitudes of these x: lack(x,
// count). The past taps have products of their own, `PastProducts`, with the roles changed: x becomes -x - 1 with every
// negative w, and what is lacking, the magnitudes of these w, is in IntegerLayer::past_base. `Weights`
// (weights_bytes.h, weights_nibbles.h) is how the matrices of the layers are stored and multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtengine {

inline constexpr int kUnitRows = 16;
inline constexpr int kGreatest8 = 127;
inline constexpr int kGreatest16 = 32512;  // 127 * 256: both planes of a 16-bit input stay in [-128, 127]
inline constexpr int kMostSlots = 8;       // in one step
inline constexpr int kAheadSamples = 16;   // most samples whose past taps are computed at once

// What a sample reads of a layer lies in memory in the order of these fields, layer after layer: one stream. The skip
// products of the layer before stand on both sides of the residual product, so that the processor has work that waits
// for nothing while z, and then the next layer's input, come out of their long chains of dependent operations.
struct IntegerLayer {
  int dilation = 1;
  int ahead = 1;  // samples whose past taps are computed at once: min(dilation, kAheadSamples)
  int ahead_log2 = 0;
  std::size_t history = 0;                 // where the ring [dilation, R] starts in IntegerSlot::histories
  std::size_t past_sums = 0;               // where the ring [ahead, 2R] starts in IntegerSlot::past_sums
  const float* scale = nullptr;            // [2R] of `now` and `past`; of `past` alone where there is `now_scale`
  const float* now_scale = nullptr;        // [2R] of `now` in int4
  const float* mix_scale = nullptr;        // [M] of `mix`
  const std::int32_t* mix_base = nullptr;  // [M] of `mix`, with the residual bias
  const float* next_units = nullptr;       // [R]: 127 over the greatest input of each channel of the next layer
  const std::int8_t* now = nullptr;        // [2R, R]
  // [M, R], M = S + R: the first half of the units of the skip product of the layer before, the residual product, the
  // second half. The first layer has the residual alone, and the last one the skip product alone.
  const std::int8_t* mix = nullptr;

  const std::int8_t* past = nullptr;        // [2R, R] in tiles of one unit
  const std::int32_t* past_base = nullptr;  // [2R]: what `past` lacks, less the sum that all its offsets make
  const std::int32_t* base = nullptr;       // [2R]: the latter of `now`, negative
  const float* latent = nullptr;            // [L, 2R] in float32, divided by `scale`, as is
  const float* bias = nullptr;              // [2R]
};

// A product whose input gets its own scale each time: the two at the end, once a sample.
struct IntegerOutput {
  const std::int8_t* weights = nullptr;  // [rows, S]
  const float* scale = nullptr;          // [rows]
  const std::int32_t* base = nullptr;    // [rows]
};

struct IntegerDecoder {
  int r = 0, s = 0, l = 0;
  int section_rows = kUnitRows;  // of which both halves of a skip product have a multiple
  int layer_count = 0;
  const IntegerLayer* layers = nullptr;
  const float* first_units = nullptr;      // [R]: as IntegerLayer::next_units, of the first layer
  const float* input_older = nullptr;      // [R]
  const float* input_newer = nullptr;      // [R]
  const float* input_bias = nullptr;       // [R]
  const float* skip_older = nullptr;       // [S]: input_skip after input
  const float* skip_newer = nullptr;       // [S]
  const float* skip_bias = nullptr;        // [S], with the skip biases of all layers
  const std::int8_t* last_skip = nullptr;  // [S, R], of the last layer
  const float* last_skip_scale = nullptr;
  const std::int32_t* last_skip_base = nullptr;
  IntegerOutput output;                  // [S, S]
  const float* output_latent = nullptr;  // [L, S]
  const float* output_bias = nullptr;    // [S], of the output and its latent projection
  IntegerOutput logits;                  // [256, S]
  const float* logits_bias = nullptr;    // [256]
};

// Rows of IntegerLayer::mix.
struct MixRows {
  int skip_before, residual, skip_after;
  int all() const { return skip_before + residual + skip_after; }
};

inline MixRows mix_rows(const IntegerDecoder& d, int layer) {
  const int skip = layer > 0 ? d.s : 0, before = (skip / d.section_rows + 1) / 2 * d.section_rows;
  return {before, layer + 1 < d.layer_count ? d.r : 0, skip - before};
}

struct IntegerSlot {
  std::uint64_t position = 0;
  const float* latent = nullptr;         // [L]
  std::int32_t* base = nullptr;          // [layers, 2R]
  float* output_conditioning = nullptr;  // [S]
  std::uint8_t* histories = nullptr;     // a ring a layer; the place of sample t is t % dilation
  std::int32_t* past_sums = nullptr;     // a ring a layer; the place of sample t is t % ahead
  std::uint8_t* planes = nullptr;        // [2, S]: high and low bytes of a 16-bit input
  std::uint8_t* current = nullptr;       // [R]: a layer's input without offset
  std::uint8_t* z = nullptr;             // [2, R]: of the even and of the odd layers
  std::int32_t* sums = nullptr;          // [3]: LayerInput::sum of all z, even and odd, and of a layer's input
  float* gated = nullptr;                // [2R]
  float* x = nullptr;                    // [R]: the residual stream
  float* skip = nullptr;                 // [S]
  float* hidden = nullptr;               // [S]
  float* logits = nullptr;               // [256]
  float* probabilities = nullptr;        // [256], not normalised
};

inline constexpr int kInputSum = 2;  // place in IntegerSlot::sums

// What a product of the layers has as input: bytes [R], and where their sum is (in int8: what products with them lack).
struct LayerInput {
  const std::uint8_t* bytes;
  const std::int32_t* sum;
};

struct IntegerKernels {
  int offset;        // of past inputs and of those at the end: Int8::kOffset
  int input_offset;  // of the other inputs: Weights::kInputOffset
  int tile_units;    // Int8::kTileUnits
  bool inverts;      // Int8::kInverts
  void (*begin_hop)(const IntegerDecoder&, IntegerSlot&) noexcept;
  // The next sample of `count` slots, 1 to 8; older and newer [count].
  void (*step)(const IntegerDecoder&, IntegerSlot* const* slots, int count, const float* older,
               const float* newer) noexcept;
  int (*sample)(IntegerSlot&, float temperature, float uniform) noexcept;
  int (*most_probable)(const IntegerSlot&) noexcept;
};

#if defined(__x86_64__) || defined(_M_X64)
extern const IntegerKernels kAvx2Int8Kernels, kAvx2Int4Kernels;
extern const IntegerKernels kAvxVnniInt8Kernels, kAvxVnniInt4Kernels;
extern const IntegerKernels kAvx512VnniInt8Kernels, kAvx512VnniInt4Kernels;
#elif defined(__aarch64__) || defined(_M_ARM64)
extern const IntegerKernels kNeonInt8Kernels, kNeonInt4Kernels;
extern const IntegerKernels kNeonDotInt8Kernels, kNeonDotInt4Kernels;
#endif

}  // namespace rtengine
