// The decoder on a GPU: one team of blocks computes sample after sample of its slots, for a whole launch, without ever
// going back to the host. docs/wavenet.md has the network, docs/gpu.md the design and its reasons.
//
// Whatever a layer computes, it needs all channels of the layer before, which lie on other blocks. To exchange vectors
// once a layer and not twice, the residual product is composed with the dilated convolution after it: with
// F_i = N_i M_i-1, made ahead of time,
//
//     [a; b] = N_i x_i-1 + F_i z_i-1 + past + conditioning        x_i = x_i-1 + M_i-1 z_i-1
//
// both need x_i-1 and z_i-1 alone. So step i takes the mail {x_i-1, z_i-1} and sends {x_i, z_i}. Every warp owns some
// channels and does for each, from the same mail, four sums (gate, content, residual, skip); lanes share the columns.
// When the mail has been sent, and while the next is under way, it does the same channels' part of P_i-1 x_i-1, the
// past taps, and puts it where sample t + d of this layer will find it: a ring of sums and not of inputs, so that what
// a warp reads from it, it has written itself, and no other block's stores need to be waited for.
//
// The steps of a sample: 0 to L - 1 the layers (x_0 is known to everybody, from the codes); L the last skip product; L
// + 1 the output; L + 2 the logits. Then every block draws the same codes. Weights are read in one stream a warp, front
// to back, once a sample for all slots of the team; the record after the current one is always under way. Its first
// records lie in shared memory, as many as fit, the others come from L2.
#pragma once

#include "cpu/companding.h"
#include "cpu/philox.h"
#include "cuda/draw.h"
#include "cuda/lanes.h"
#include "cuda/mail.h"
#include "cuda/task.h"
#include "cuda/warp.h"
#include "cuda/weight_format.h"

namespace rtcuda {

// Each value's sum over all lanes. Lane i gets value i / (32 / kCount): at each distance lanes first swap halves of
// their values and then, with one value left, add. The tree of additions is the same for every kCount.
template <int kCount>
RTCUDA_DEVICE Floats sum_over_lanes(Floats (&values)[kCount]) {
  const Ints lane = lane_index();
  int count = kCount;
  RTCUDA_UNROLL for (int far = 16; far > 0; far /= 2) {
    if (count == 1) {
      values[0] = values[0] + shuffle_xor(values[0], far);
      continue;
    }
    count /= 2;
    const Mask upper = lane / far % 2 == 1;
    RTCUDA_UNROLL for (int k = 0; k < kCount / 2; ++k) {
      if (k >= count) break;
      const Floats kept = select(upper, values[k + count], values[k]);
      values[k] = kept + shuffle_xor(select(upper, values[k], values[k + count]), far);
    }
  }
  return values[0];
}

// sigmoid(a) tanh(b), as in cpu/vector_math.h.
RTCUDA_DEVICE Floats gated(Floats a, Floats b) {
  const Floats high = 60.0f, low = -60.0f, one = 1.0f;
  const Floats u = fast_exp2(greater_of(lesser_of(a * -1.44269504f, high), low));
  const Floats v = fast_exp2(greater_of(lesser_of(b * -2.88539008f, high), low));
  return fast_divide(one - v, (one + u) * (one + v));
}

// kTogether: slots whose sums are reduced together, 1 or 4.
template <class Format, int kTogether>
class Player {
 public:
  RTCUDA_DEVICE Player(const Task& task, Warp& warp)
      : task_(task),
        s_(task.shape),
        warp_(warp),
        places_(block_memory(task, Format::kParts)),
        tasks_(reinterpret_cast<SlotTask*>(warp.memory + places_.tasks)),
        inputs_(reinterpret_cast<float*>(warp.memory + places_.inputs)),
        prediction_(reinterpret_cast<float*>(warp.memory + places_.prediction)),
        first_channel_((warp.block * s_.warps + warp.warp) * s_.per_warp),
        record_quads_(s_.column_groups() * Format::kParts * kLanes),
        mail_(task, warp,
              task.clustered ? reinterpret_cast<float*>(warp.memory + places_.mail)
                             : task.mail + static_cast<std::int64_t>(warp.team) * task.mail_floats()) {
    const std::int64_t number = warp.block * s_.warps + warp.warp;
    stream_ = task.weights.records + number * s_.records() * record_quads_;
    resident_ = reinterpret_cast<QuadWords*>(warp.memory + places_.records) + warp.warp * task.resident * record_quads_;
    scales_ = task.weights.scales ? task.weights.scales + number * s_.records() * kMatrices : nullptr;
    sums_ = reinterpret_cast<float*>(warp.memory + places_.sums) + warp.warp * s_.per_warp * task.team_slots * kLanes;
  }

  RTCUDA_DEVICE void run() {
    prepare();
    warp_.team_barrier();
    load_ahead(0);
    for (sample_ = 0; sample_ < task_.samples; ++sample_) {
      for (int step = 0; step < s_.steps(); ++step) {
        warp_.sync();  // lanes read what others of the warp have written: past sums
        play(step);
        if (step < s_.mails()) mail_.next_exchange();
      }
      draw();
      mail_.next_sample();
      warp_.block_barrier();  // the codes are there; the mail with the logits has been read
    }
    warp_.team_barrier();  // nobody leaves while mail may still come in
  }

 private:
  // Lanes of one of a slot's four sums, and of the slot.
  static constexpr int kRowLanes = 8 / kTogether, kSlotLanes = 4 * kRowLanes;
  enum Row { kGate, kContent, kResidual, kSkip };
  static constexpr int kAhead = 2;  // groups of columns of the next record that are held in registers

  RTCUDA_DEVICE static Ints row() { return lane_index() / kRowLanes % 4; }
  RTCUDA_DEVICE static Ints slot_in_group() { return lane_index() / kSlotLanes; }
  RTCUDA_DEVICE static Floats from_row(Floats x, Ints slot, int row) {
    return shuffle(x, slot * kSlotLanes + row * kRowLanes);
  }

  RTCUDA_DEVICE void prepare() {
    const Ints lane = lane_index();
    const int thread_warps = s_.warps;
    // Tasks, mail and weights of the block, each warp a part.
    const int task_words = task_.team_slots * static_cast<int>(sizeof(SlotTask) / 4);
    const std::uint32_t* from =
        reinterpret_cast<const std::uint32_t*>(task_.slots + static_cast<std::int64_t>(warp_.team) * task_.team_slots);
    std::uint32_t* to = reinterpret_cast<std::uint32_t*>(tasks_);
    copy_words(from, to, task_words, thread_warps);
    if (task_.clustered) {
      std::uint32_t* const mail = reinterpret_cast<std::uint32_t*>(warp_.memory + places_.mail);
      for (int i = warp_.warp * kLanes; i < task_.mail_floats(); i += thread_warps * kLanes)
        store_if(lane + i < task_.mail_floats(), Lanes<std::uint32_t*>(mail), to_offset(lane + i), Words(0u));
    }
    for (int r = 0; r < task_.resident; ++r)
      for (int q = 0; q < record_quads_; q += kLanes) {
        const int at = r * record_quads_ + q;
        store_quad(resident_ + at, lane, load_quad(stream_ + at, lane));
      }
    warp_.block_barrier();
    for (int slot = warp_.warp; slot < task_.team_slots; slot += s_.warps) {
      const Mask going_on = lane < 2 && Mask(tasks_[slot].position > 0);
      store_if(lane < 2, Lanes<float*>(inputs_ + 2 * slot), to_offset(lane),
               load_if(going_on, Lanes<float*>(tasks_[slot].inputs), to_offset(lane)));
      if (task_.lags == 0) continue;
      for (int i = 0; i < task_.lags; i += kLanes) {
        store_if(Mask(true), Lanes<float*>(taps_of(slot) + i), to_offset(lane), load(tasks_[slot].taps + i, lane));
        store_if(Mask(true), Lanes<float*>(ring_of(slot) + i), to_offset(lane), load(tasks_[slot].recent + i, lane));
      }
      warp_.sync();
      const float ahead = predicted(slot, 0);
      if (warp_.is_first_lane()) inputs_[2 * slot] = ahead;
    }
    for (int slot = 0; slot < task_.team_slots; ++slot)
      if (tasks_[slot].begin_hop && !tasks_[slot].muted)
        for (int i = 0; i < s_.per_warp; ++i) condition(tasks_[slot], first_channel_ + i);
    warp_.block_barrier();  // inputs; and each warp's own conditioning
  }

  RTCUDA_DEVICE void copy_words(const std::uint32_t* from, std::uint32_t* to, int count, int warps) {
    for (int i = warp_.warp * kLanes; i < count; i += warps * kLanes) {
      const Ints at = lane_index() + i;
      const Mask wanted = at < count;
      store_if(wanted, Lanes<std::uint32_t*>(to), to_offset(at),
               load_if(wanted, Lanes<const std::uint32_t*>(from), to_offset(at)));
    }
  }

  // V c + bias of a channel in all layers, a lane a layer.
  RTCUDA_DEVICE void condition(const SlotTask& slot, int channel) {
    const int layers = s_.layers + 1;  // the last one is the output
    for (int first = 0; first < layers; first += kLanes) {
      const Ints layer = lane_index() + first;
      const Mask wanted = layer < layers;
      for (int half = 0; half < 2; ++half) {
        const std::int64_t row = channel * 2 + half;
        Floats sum = load_if(wanted, Lanes<const float*>(task_.weights.base_bias + row * layers), to_offset(layer));
        const float* const weights = task_.weights.latent + row * s_.latent * layers;
        for (int j = 0; j < s_.latent; ++j)
          sum = multiply_add(load_if(wanted, Lanes<const float*>(weights + j * layers), to_offset(layer)),
                             slot.latent[j], sum);
        store_if(wanted, Lanes<float*>(slot.base), to_offset(layer * s_.channels + channel) * 2 + half, sum);
      }
    }
  }

  RTCUDA_DEVICE const QuadWords* record(int number) const {
    return number < task_.resident ? resident_ + number * record_quads_
                                   : stream_ + static_cast<std::int64_t>(number) * record_quads_;
  }
  RTCUDA_DEVICE void load_ahead(int number) {
    const QuadWords* const from = record(number);
    RTCUDA_UNROLL for (int k = 0; k < kAhead; ++k) {
      if (k < s_.column_groups())
        RTCUDA_UNROLL for (int p = 0; p < Format::kParts; ++p) ahead_[k * Format::kParts + p] =
            load_quad(from + (k * Format::kParts + p) * kLanes, lane_index());
    }
  }

  RTCUDA_DEVICE void play(int step) {
    for (int i = 0; i < s_.per_warp; ++i) {
      const int number = step * s_.per_warp + i, channel = first_channel_ + i;
      Quad now[kAhead * Format::kParts];
      RTCUDA_UNROLL for (int q = 0; q < kAhead * Format::kParts; ++q) now[q] = ahead_[q];
      load_ahead(number + 1 < s_.records() ? number + 1 : 0);
      for (int slot = 0; slot < task_.team_slots; slot += kTogether) {
        const Floats rest = addend(step, channel, i, slot);
        Floats sums[4 * kTogether];
        RTCUDA_UNROLL for (Floats& sum : sums) sum = 0.0f;
        each_group(now, number,
                   [&](const Quad* weights, int group) { add_products(weights, number, step, group, slot, sums); });
        finish(step, channel, i, slot, sum_over_lanes(sums) + rest);
      }
      if (step == 0 || step > s_.layers) continue;
      for (int slot = 0; slot < task_.team_slots; slot += kTogether) {
        Floats sums[2 * kTogether];
        RTCUDA_UNROLL for (Floats& sum : sums) sum = 0.0f;
        each_group(now, number, [&](const Quad* weights, int group) { add_past(weights, number, group, slot, sums); });
        keep_past(step - 1, channel, slot, sum_over_lanes(sums));
      }
    }
  }

  template <class Each>
  RTCUDA_DEVICE void each_group(const Quad* now, int number, const Each& each) {
    RTCUDA_UNROLL for (int k = 0; k < kAhead; ++k) if (k < s_.column_groups()) each(now + k * Format::kParts, k);
    for (int k = kAhead; k < s_.column_groups(); ++k) {
      Quad weights[Format::kParts];
      RTCUDA_UNROLL for (int p = 0; p < Format::kParts; ++p) weights[p] =
          load_quad(record(number) + (k * Format::kParts + p) * kLanes, lane_index());
      each(weights, k);
    }
  }

  RTCUDA_DEVICE const float* scales(int number) const { return scales_ ? scales_ + number * kMatrices : nullptr; }

  // Partial sums of kTogether slots from `slot` on, over the lane's two columns of this group.
  RTCUDA_DEVICE void add_products(const Quad* weights, int number, int step, int group, int slot, Floats* sums) {
    const Ints column = lane_index() * 2 + group * kColumns;
    Floats w[6][2];
    RTCUDA_UNROLL for (int m = 0; m < 6; ++m) Format::pair(weights, m, scales(number), w[m][0], w[m][1]);
    RTCUDA_UNROLL for (int g = 0; g < kTogether; ++g) {
      Floats in[4];  // x, z of the first column, of the second
      if (step == 0)
        first_inputs(slot + g, column, in);
      else
        mail_.pairs(slot + g, column, in);
      Floats* const sum = sums + 4 * g;
      const auto dot = [&](int m, int which, Floats from) {
        return multiply_add(w[m][1], in[which + 2], multiply_add(w[m][0], in[which], from));
      };
      sum[kGate] = dot(1, 1, dot(0, 0, sum[kGate]));
      sum[kContent] = dot(3, 1, dot(2, 0, sum[kContent]));
      sum[kResidual] = dot(4, 1, sum[kResidual]);
      sum[kSkip] = dot(5, 1, sum[kSkip]);
    }
  }

  RTCUDA_DEVICE void add_past(const Quad* weights, int number, int group, int slot, Floats* sums) {
    const Ints column = lane_index() * 2 + group * kColumns;
    Floats w[2][2];
    RTCUDA_UNROLL for (int m = 0; m < 2; ++m) Format::pair(weights, 6 + m, scales(number), w[m][0], w[m][1]);
    RTCUDA_UNROLL for (int g = 0; g < kTogether; ++g) {
      Floats in[4];
      mail_.pairs_again(slot + g, column, in);
      RTCUDA_UNROLL for (int m = 0; m < 2; ++m) sums[2 * g + m] =
          multiply_add(w[m][1], in[2], multiply_add(w[m][0], in[0], sums[2 * g + m]));
    }
  }

  // x_0, or (of_skip) what the skip sum starts from: affine in the two network inputs.
  RTCUDA_DEVICE Floats affine(const float* rows, int slot, Ints channel) const {
    const int c = s_.channels;
    const Floats older = inputs_[2 * slot], newer = inputs_[2 * slot + 1];
    return multiply_add(load(rows + c, channel), newer,
                        multiply_add(load(rows, channel), older, load(rows + 2 * c, channel)));
  }
  RTCUDA_DEVICE void first_inputs(int slot, Ints column, Floats (&in)[4]) const {
    in[0] = affine(task_.weights.input, slot, column);
    in[2] = affine(task_.weights.input, slot, column + 1);
    in[1] = in[3] = 0.0f;
  }

  // What each row's sum is added to.
  RTCUDA_DEVICE Floats addend(int step, int channel, int i, int slot) {
    const Ints which = slot_in_group() + slot, row = Player::row();
    const Mask convolved = row < 2;
    Floats rest = 0.0f;
    if (step == s_.layers + 2) {
      const Ints label = row * s_.channels + channel;
      return load_if(label < kClassCount, Lanes<const float*>(task_.weights.logits_bias), to_offset(label));
    }
    if (step != s_.layers) {
      const int layer = step < s_.layers ? step : s_.layers;
      rest = load_if(convolved, field(tasks_, which, &SlotTask::base),
                     to_offset(row) + (std::int64_t{layer} * s_.channels + channel) * 2);
    }
    if (step < s_.layers) {
      const std::int64_t dilation = s_.dilation(step);
      const Offsets t = field(tasks_, which, &SlotTask::position) + std::int64_t{sample_};
      const Offsets place = (t & (dilation - 1)) + s_.ring_start(step);
      const Mask there = convolved && !(t < dilation);
      rest = rest +
             load_if(there, field(tasks_, which, &SlotTask::past),
                     (place * std::int64_t{s_.channels} + std::int64_t{channel}) * std::int64_t{2} + to_offset(row));
    }
    if (step == 0) {
      RTCUDA_UNROLL for (int g = 0; g < kTogether; ++g) {
        const Mask here = slot_in_group() == g;
        rest = select(here && row == kResidual, affine(task_.weights.input, slot + g, Ints(channel)), rest);
        rest = select(here && row == kSkip, affine(task_.weights.skip_input, slot + g, Ints(channel)), rest);
      }
      return rest;
    }
    if (step <= s_.layers) {
      const Floats so_far = load(sums_at(i, slot), lane_index());
      const float bias = step < s_.layers ? task_.weights.residual_bias[step * s_.channels + channel] : 0.0f;
      rest = select(row == kResidual, so_far + bias, select(row == kSkip, so_far, rest));
    }
    return rest;
  }

  // x (residual rows) and the skip sum of the warp's channels, kept by the lanes that add to them.
  RTCUDA_DEVICE float* sums_at(int i, int slot) const {
    return sums_ + (i * (task_.team_slots / kTogether) + slot / kTogether) * kLanes;
  }

  RTCUDA_DEVICE void finish(int step, int channel, int i, int slot, Floats total) {
    if (step == s_.layers + 2) {
      mail_.send_logits(4 * kTogether, [&](Ints item, Ints& which, Ints& label, Floats& logit) {
        which = item / 4 + slot;
        label = item % 4 * s_.channels + channel;
        logit = shuffle(total, item * kRowLanes);
      });
      return;
    }
    if (step > s_.layers - 1) {  // the skip sum, the output: one vector, through a ReLU
      const int row = step == s_.layers ? kSkip : kGate;
      const Floats positive = greater_of(total, Floats(0.0f));
      mail_.send_pairs(slot, kTogether, channel,
                       [&](Ints item, Floats& x, Floats& z) { x = z = from_row(positive, item, row); });
      return;
    }
    const Floats z = gated(total, shuffle(total, lane_index() + kRowLanes));  // in the gate's lanes
    mail_.send_pairs(slot, kTogether, channel, [&](Ints item, Floats& x, Floats& gate) {
      x = from_row(total, item, kResidual);
      gate = from_row(z, item, kGate);
    });
    store_if(Mask(true), Lanes<float*>(sums_at(i, slot)), to_offset(lane_index()), total);
  }

  RTCUDA_DEVICE void keep_past(int layer, int channel, int slot, Floats total) {
    constexpr int kValueLanes = kLanes / (2 * kTogether);
    const Ints value = lane_index() / kValueLanes, which = value / 2 + slot;
    const Offsets t = field(tasks_, which, &SlotTask::position) + std::int64_t{sample_};
    const Offsets place = (t & std::int64_t{s_.dilation(layer) - 1}) + s_.ring_start(layer);
    const Mask wanted = lane_index() % kValueLanes == 0 && field(tasks_, which, &SlotTask::muted) == std::int16_t{0};
    store_if(wanted, field(tasks_, which, &SlotTask::past),
             (place * std::int64_t{s_.channels} + std::int64_t{channel}) * std::int64_t{2} + to_offset(value % 2),
             total);
  }

  RTCUDA_DEVICE float* taps_of(int slot) const { return prediction_ + 2 * slot * task_.lags; }
  RTCUDA_DEVICE float* ring_of(int slot) const { return taps_of(slot) + task_.lags; }

  // Network input of what linear prediction makes of the signal, `newer` samples after that of the launch's beginning.
  RTCUDA_DEVICE float predicted(int slot, int newer) const {
    Floats sum = 0.0f;
    for (int i = 0; i < task_.lags; i += kLanes) {
      const Ints tap = lane_index() + i;
      sum = multiply_add(load(taps_of(slot), tap), load(ring_of(slot), (tap + newer) % task_.lags), sum);
    }
    RTCUDA_UNROLL for (int far = 16; far > 0; far /= 2) sum = sum + shuffle_xor(sum, far);
    return rtengine::companded(uniform_value(lesser_of(greater_of(sum, Floats(-1.0f)), Floats(1.0f))));
  }

  // Every block draws all of its team's codes; block 0 writes them down.
  RTCUDA_DEVICE void draw() {
    for (int slot = warp_.warp; slot < task_.team_slots; slot += s_.warps) {
      const SlotTask& its = tasks_[slot];
      Floats logits[8];
      mail_.logits(slot, logits);
      // Classes count from what is predicted (cpu/code_history.h).
      const int shift = task_.lags ? rtengine::nearest_code(inputs_[2 * slot]) + kClassCount / 2 : 0;
      const bool writes = warp_.block == 0 && !its.muted;
      if (its.logits && writes)
        RTCUDA_UNROLL for (int k = 0; k < 8; ++k)
            store_if(Mask(true), Lanes<float*>(its.logits + std::int64_t{sample_} * kClassCount),
                     to_offset((lane_index() * 8 + (k + shift)) % kClassCount), logits[k]);
      const std::uint64_t t = static_cast<std::uint64_t>(its.position) + static_cast<std::uint64_t>(sample_);
      const int code =
          its.forced ? its.forced[sample_]
                     : (draw_class(logits, its.temperature, rtengine::uniform(its.seed, t)) + shift) % kClassCount;
      const float newer = rtengine::network_input(static_cast<std::uint8_t>(code));
      float older = inputs_[2 * slot + 1];
      warp_.sync();
      if (task_.lags) {
        if (warp_.is_first_lane()) ring_of(slot)[sample_ % task_.lags] = rtengine::expanded(newer);
        warp_.sync();
        older = predicted(slot, sample_ + 1);
      }
      if (warp_.is_first_lane()) {
        inputs_[2 * slot] = older;
        inputs_[2 * slot + 1] = newer;
        if (writes && its.codes) its.codes[sample_] = static_cast<std::uint8_t>(code);
        if (writes && sample_ + 1 == task_.samples) {
          its.inputs[0] = older;
          its.inputs[1] = newer;
        }
      }
    }
  }

  const Task& task_;
  const Shape& s_;
  Warp& warp_;
  BlockMemory places_;
  SlotTask* tasks_;    // [team slots], this and what follows in shared memory
  float* inputs_;      // [team slots, 2]
  float* prediction_;  // [team slots, 2, lags]: taps, and the signal that they take, a ring
  float* sums_;        // this warp's [per_warp, team slots / kTogether, 32]
  QuadWords* resident_;
  int first_channel_, record_quads_;
  const QuadWords* stream_;
  const float* scales_;
  Mail mail_;
  Quad ahead_[kAhead * Format::kParts];
  int sample_ = 0;
};

}  // namespace rtcuda
