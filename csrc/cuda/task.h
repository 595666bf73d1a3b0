// What the host hands to the kernel: shapes, pointers into device memory, and what each slot is to play. Plain data,
// the same on both sides.
//
// C: channels, the greater of residual and skip ones, padded to a multiple of 64. A team is the N blocks (a
// thread-block cluster, or blocks of a cooperative grid) that compute one sample together; each of its blocks owns C /
// N channels, each of the block's W warps as many as any other.
#pragma once

#include <cstdint>

#include "cuda/lanes.h"

namespace rtcuda {

inline constexpr int kClassCount = 256;
inline constexpr int kColumns = 64;     // of a matrix, that one record of weights holds: two a lane
inline constexpr int kMatrices = 8;     // rows that one record holds, see pack.h
inline constexpr int kMailBuffers = 4;  // exchanges that may be under way, see mail.h
inline constexpr int kMostTeamSlots = 16;
inline constexpr int kMostTeamBlocks = 16;
inline constexpr int kMostWarps = 16;
inline constexpr int kMostSlots = 256;  // in one launch

struct Shape {
  int layers = 0;          // L
  int layers_a_block = 0;  // dilations are 1, 2, ... 2^(layers_a_block - 1), over and over
  int latent = 0;
  int channels = 0;     // C
  int team_blocks = 0;  // N
  int warps = 0;        // W
  int per_warp = 0;     // C / N / W

  RTCUDA_SHARED int column_groups() const { return channels / kColumns; }
  RTCUDA_SHARED int steps() const { return layers + 3; }  // layers, last skip, output, logits
  RTCUDA_SHARED int mails() const { return layers + 2; }  // exchanges of pairs a sample; the logits have their own
  RTCUDA_SHARED int records() const { return steps() * per_warp; }  // a warp, a sample
  RTCUDA_SHARED int dilation(int layer) const { return 1 << (layer % layers_a_block); }
  // Rows of the ring of past sums before this layer's.
  RTCUDA_SHARED std::int64_t ring_start(int layer) const {
    const std::int64_t whole = (std::int64_t{1} << layers_a_block) - 1;
    return layer / layers_a_block * whole + (std::int64_t{1} << (layer % layers_a_block)) - 1;
  }
};

struct Weights {
  const QuadWords* records = nullptr;    // [N, W, records, groups of columns, parts, 32 lanes]
  const float* scales = nullptr;         // int8: [N, W, records, 8]
  const float* input = nullptr;          // [3, C]: of the sample before last, of the last one, bias
  const float* skip_input = nullptr;     // [3, C]: the skip sum that layers add to, likewise
  const float* residual_bias = nullptr;  // [L + 1, C]: what x gains on the way into a layer, first row 0
  const float* base_bias = nullptr;      // [C, 2, L + 1]: of gate and content; in the last place of the output
  const float* latent = nullptr;         // [C, 2, latent, L + 1], likewise
  const float* logits_bias = nullptr;    // [256]
};

struct alignas(16) SlotTask {
  float* past = nullptr;    // [sum of dilations, C, 2]: P x of a layer, in the place of the sample it will be added to
  float* base = nullptr;    // [L + 1, C, 2]: conditioning and biases of the hop
  float* inputs = nullptr;  // [2]: network inputs at t - 2, or what is predicted, and t - 1
  std::uint64_t seed = 0;
  std::int64_t position = 0;  // t of the first sample
  float temperature = 1.0f;
  std::int16_t begin_hop = 0;            // condition on `latent` first
  std::int16_t muted = 0;                // a stand-in that fills a team up: computed, but nothing is written
  const float* latent = nullptr;         // [latent]
  const float* taps = nullptr;           // [lags], of the linear prediction
  const float* recent = nullptr;         // [lags], the signal so far that they take, oldest first
  const std::uint8_t* forced = nullptr;  // teacher forcing: [samples], and nothing is drawn
  std::uint8_t* codes = nullptr;         // [samples], or null
  float* logits = nullptr;               // [samples, 256], or null
};

struct Task {
  Shape shape;
  Weights weights;
  const SlotTask* slots = nullptr;  // [teams, team_slots]
  int team_slots = 0;               // a multiple of the kernel's kTogether
  int samples = 0;
  int lags = 0;           // of the linear prediction, a multiple of 32; 0: there is none
  int resident = 0;       // records of each warp that are kept in shared memory
  int clustered = 0;      // mail goes into the peers' shared memory, not through device memory
  float* mail = nullptr;  // zeros, of all teams, where not clustered: [teams, mail_floats()]
  int patience = 0;       // polls after which a warp gives up
  int* failed = nullptr;  // set to 1 by a warp that gave up

  RTCUDA_SHARED int pair_floats() const { return kMailBuffers * team_slots * shape.channels * 2; }
  RTCUDA_SHARED int mail_floats() const { return pair_floats() + team_slots * kClassCount; }
};

// Where things lie in a block's shared memory, in bytes.
struct BlockMemory {
  int tasks, mail, inputs, prediction, sums, records, total;
};
static_assert(sizeof(SlotTask) % 16 == 0);
RTCUDA_SHARED BlockMemory block_memory(const Task& task, int parts) {
  const Shape& s = task.shape;
  BlockMemory m;
  m.tasks = 0;
  m.mail = m.tasks + task.team_slots * static_cast<int>(sizeof(SlotTask));
  m.inputs = m.mail + (task.clustered ? task.mail_floats() * 4 : 0);
  m.prediction = m.inputs + task.team_slots * 2 * 4;
  m.sums = m.prediction + task.team_slots * 2 * task.lags * 4;
  m.records = (m.sums + s.warps * s.per_warp * task.team_slots * kLanes * 4 + 15) / 16 * 16;
  m.total = m.records + s.warps * task.resident * s.column_groups() * parts * kLanes * 16;
  return m;
}

}  // namespace rtcuda
