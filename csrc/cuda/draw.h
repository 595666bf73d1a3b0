// Drawing a class from 256 logits that lie in a warp, eight neighbouring ones a lane. The order of all additions is
// that of csrc/cpu/network_integer_scalar.cpp: equal logits give equal codes there and here.
#pragma once

#include "cuda/lanes.h"

namespace rtcuda {

inline constexpr float kLeastTemperature = 1e-4f;  // as in cpu/decoder.h

// 2^x for x in [-126, 126], the polynomial of cpu/vector_math.h.
RTCUDA_DEVICE Floats exact_exp2(Floats x) {
  const Floats whole = to_nearest(x), r = x - whole;
  const Floats low = multiply_add(0.24022242426872253f, r, 0.6931470036506653f);
  const Floats high = multiply_add(0.009671511128544807f, r, 0.05550733953714371f);
  const Floats r2 = r * r, top = multiply_add(0.0013264708686619997f, r2, high);
  const Floats p = multiply_add(multiply_add(top, r2, low), r, 1.0f);
  return p * float_of(to_word(to_int(whole) + 127) << 23);
}

RTCUDA_DEVICE int draw_class(const Floats (&logits)[8], float temperature, float uniform) {
  const Ints lane = lane_index();
  Floats top = logits[0];
  RTCUDA_UNROLL for (int k = 1; k < 8; ++k) top = greater_of(top, logits[k]);
  RTCUDA_UNROLL for (int far = 16; far > 0; far /= 2) top = greater_of(top, shuffle_xor(top, far));

  if (!(temperature >= kLeastTemperature)) {  // the lowest of the most probable classes
    Ints first = kClassCount;
    RTCUDA_UNROLL for (int k = 7; k >= 0; --k) first = select(logits[k] == top, lane * 8 + k, first);
    RTCUDA_UNROLL for (int far = 16; far > 0; far /= 2) {
      const Ints other = shuffle_xor(first, far);
      first = select(other < first, other, first);
    }
    const int found = uniform_value(first);
    return found < kClassCount ? found : 0;
  }

  const float scale = 1.44269504f / temperature;
  Floats weights[8];
  RTCUDA_UNROLL for (int k = 0; k < 8; ++k) weights[k] =
      exact_exp2(greater_of((logits[k] - top) * scale, Floats(-100.0f)));

  // A group of 16 classes is an even lane and the odd one after it. The odd one goes on where the even one ended.
  const Mask odd = lane % 2 == 1;
  const Ints even_lane = lane / 2 * 2;
  const auto run = [&](Floats from) {
    RTCUDA_UNROLL for (int k = 0; k < 8; ++k) from = from + weights[k];
    return from;
  };
  const Floats first_half = run(0.0f);
  const Floats part = run(shuffle(first_half, even_lane));  // in odd lanes: of the group
  Floats total = 0.0f, before = 0.0f, upto = 0.0f;
  for (int group = 0; group < kClassCount / 16; ++group) {
    const Mask here = lane / 2 == group;
    before = select(here, total, before);
    total = total + shuffle(part, Ints(2 * group + 1));
    upto = select(here, total, upto);
  }
  const Floats threshold = Floats(uniform) * total;
  const std::uint32_t beyond = ~votes(upto <= threshold);
  int group = kClassCount / 16 - 1;
  for (int g = group - 1; g >= 0; --g)
    if (beyond >> (2 * g) & 1u) group = g;

  const auto count = [&](Floats& sum) {  // how many classes' running sums stay within the threshold
    Ints within = 0;
    RTCUDA_UNROLL for (int k = 0; k < 8; ++k) {
      sum = sum + weights[k];
      within = within + select(sum <= threshold, Ints(1), Ints(0));
    }
    return within;
  };
  Floats sum = before;
  const Ints first_count = count(sum);
  Floats on = shuffle(sum, even_lane);
  const Ints second_count = count(on);
  const Ints within = select(odd, second_count, first_count);
  const int passed =
      uniform_value(shuffle(within, Ints(2 * group))) + uniform_value(shuffle(within, Ints(2 * group + 1)));
  return group * 16 + (passed < 15 ? passed : 15);
}

}  // namespace rtcuda
