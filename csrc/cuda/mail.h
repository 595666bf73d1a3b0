// How the blocks of a team exchange vectors, once a step.
//
// Mail is float32 whose lowest bit is a flag, so that the payload itself says that it has come: no barrier, no fence,
// no order between words is needed, and any reader may poll a part of its own. Exchange number e goes into buffer e mod
// 4; the flag is e / 4's parity, inverted, so that a word of the exchange four before, or of none, has the other one.
// The word is rounded to the remaining 23 bits of significand.
//
// Why four buffers suffice: a warp sends mail e + 1 only after it has read all of mail e, and every warp of a team
// sends a part of every mail. So whoever has all of mail e + 3 knows that every warp has sent that, and with it that
// each is done with mail e + 2 as a whole, and with what it does with mail e after having sent mail e + 1 (the past
// taps): the buffer of mail e may be overwritten by mail e + 4. The logits have one buffer of their own, written once a
// sample: between two samples every block passes a barrier.
#pragma once

#include "cuda/lanes.h"
#include "cuda/task.h"
#include "cuda/warp.h"

namespace rtcuda {

RTCUDA_DEVICE Words sealed(Floats value, std::uint32_t flag) {
  const Words bits = bits_of(value);
  const Words even = (bits + (bits & (bits >> 1) & 1u)) & ~1u;  // to nearest, ties to even
  return even | flag;
}
RTCUDA_DEVICE Floats unsealed(Words word) { return float_of(word & ~1u); }

// The mailboxes of one block as a warp sees them.
class Mail {
 public:
  RTCUDA_DEVICE Mail(const Task& task, Warp& warp, float* own)
      : warp_(warp),
        own_(own),
        slots_(task.team_slots),
        channels_(task.shape.channels),
        logits_at_(task.pair_floats()),
        peers_(task.clustered ? task.shape.team_blocks : 1) {}

  RTCUDA_DEVICE void next_exchange() { ++exchange_; }
  RTCUDA_DEVICE void next_sample() { ++sample_; }

  // Two neighbouring columns {x, z, x, z} of the last exchange, waited for; again() doesn't wait.
  RTCUDA_DEVICE void pairs(int slot, Ints column, Floats (&out)[4]) {
    unseal(waited(pair_at(exchange_ - 1, slot) + column * 2, flag(exchange_ - 1)), out);
  }
  RTCUDA_DEVICE void pairs_again(int slot, Ints column, Floats (&out)[4]) const {
    unseal(warp_.peek(own_, pair_at(exchange_ - 1, slot) + column * 2), out);
  }
  // This exchange's x and z of a channel: item i of `items` of each peer is slot `slot + i`.
  template <class Value>
  RTCUDA_DEVICE void send_pairs(int slot, int items, int channel, const Value& value) {
    for (int first = 0; first < items * peers_; first += kLanes) {
      const Ints item = lane_index() + first, which = item % items;
      Floats x, z;
      value(which, x, z);
      const Ints at = (which + slot) * (2 * channels_) + (pair_at(exchange_, 0) + 2 * channel);
      warp_.send(own_, at, item / items, sealed(x, flag(exchange_)), sealed(z, flag(exchange_)), item < items * peers_);
    }
  }

  // Classes 8 i to 8 i + 7 in lane i, waited for.
  RTCUDA_DEVICE void logits(int slot, Floats (&out)[8]) {
    const Ints at = lane_index() * 8 + (logits_at_ + slot * kClassCount);
    Floats low[4], high[4];
    unseal(waited(at, flag_of_sample()), low);
    unseal(waited(at + 4, flag_of_sample()), high);
    for (int k = 0; k < 4; ++k) {
      out[k] = low[k];
      out[k + 4] = high[k];
    }
  }
  // Item i of `items` of each peer is class `where(i)`, below 256, of slot `slot_of(i)`.
  template <class Value>
  RTCUDA_DEVICE void send_logits(int items, const Value& value) {
    for (int first = 0; first < items * peers_; first += kLanes) {
      const Ints item = lane_index() + first;
      Floats logit;
      Ints slot, label;
      value(item % items, slot, label, logit);
      const Mask wanted = item < items * peers_ && label < kClassCount;
      warp_.send(own_, slot * kClassCount + label + logits_at_, item / items, sealed(logit, flag_of_sample()), wanted);
    }
  }

 private:
  RTCUDA_DEVICE static std::uint32_t flag(std::uint64_t exchange) {
    return static_cast<std::uint32_t>(exchange / kMailBuffers & 1u) ^ 1u;
  }
  RTCUDA_DEVICE std::uint32_t flag_of_sample() const { return static_cast<std::uint32_t>(sample_ & 1u) ^ 1u; }
  RTCUDA_DEVICE int pair_at(std::uint64_t exchange, int slot) const {
    return (static_cast<int>(exchange % kMailBuffers) * slots_ + slot) * channels_ * 2;
  }
  RTCUDA_DEVICE Quad waited(Ints at, std::uint32_t expected) {
    Quad q = warp_.peek(own_, at);
    int polls = 0;
    while (votes(((q.w[0] & q.w[1] & q.w[2] & q.w[3] & 1u) == expected) &&
                 (((q.w[0] | q.w[1] | q.w[2] | q.w[3]) & 1u) == expected)) != 0xFFFFFFFFu &&
           warp_.waits(++polls))
      q = warp_.peek(own_, at);
    return q;
  }
  RTCUDA_DEVICE static void unseal(const Quad& q, Floats (&out)[4]) {
    for (int k = 0; k < 4; ++k) out[k] = unsealed(q.w[k]);
  }

  Warp& warp_;
  float* own_;
  int slots_, channels_, logits_at_, peers_;
  std::uint64_t exchange_ = 0, sample_ = 0;
};

}  // namespace rtcuda
