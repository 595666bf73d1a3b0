// A decoder's weights in the order in which the kernel reads them.
//
// A record is what a warp needs for one of its channels in one step: kMatrices rows of kColumns columns for each group
// of columns, lane i having columns 2 i and 2 i + 1. With N the current tap, F = N_i M_i-1, M residual, K skip, P past
// tap, for channel c of layer i:
//
//     row  0  gate: N_i         1  gate: F_i       2  content: N_i    3  content: F_i
//          4  M_i-1             5  K_i-1           6  gate: P_i-1     7  content: P_i-1
//
// with zeros where there is no such layer. The output's matrix takes row 0 of its step, the logits' classes c, c + C,
// c + 2 C, c + 3 C rows 0, 2, 4 and 5 of theirs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/decoder_weights.h"
#include "cuda/task.h"

namespace rtcuda {

enum class Precision { kFloat16, kBf16, kFloat32, kInt8 };
inline constexpr const char* kPrecisionNames[] = {"fp16", "bf16", "fp32", "int8"};
Precision precision_of(const std::string& name);  // throws std::invalid_argument
int parts_of(Precision precision);                // words of 16 bytes a lane, see weight_format.h

struct PackedWeights {
  Shape shape;
  Precision precision;
  std::vector<QuadWords> records;
  std::vector<float> scales, input, skip_input, residual_bias, base_bias, latent, logits_bias;
  std::int64_t ring_rows = 0;  // of a slot's past sums
};

// team_blocks: N, a power of two up to kMostTeamBlocks. most_warps: of a block, up to kMostWarps. Throws
// std::invalid_argument for weights that the precision can't hold.
PackedWeights pack(const rtengine::DecoderWeights& weights, Precision precision, int team_blocks, int most_warps);

}  // namespace rtcuda
