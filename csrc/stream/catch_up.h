// How a decoder that is late gets back in time with the fewest missed blocks: by rendering all that it owes, or by
// giving up as much as the client asks for until the first block after the gap is there.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

namespace rtstream {

// When the client asks for its next block, and for how much. In frames, also as time.
struct Asking {
  double frames, in_frames;
};

// [render thread] Of the blocks that the client is yet to ask for, how many to give up; negative: render what is owed.
// ahead: frames rendered beyond what the client has asked for so far; negative: owed. need: frames that must be there
// for its next block (with the fade after it). speed: frames rendered in the time that one is played. patience: how
// much may be owed at most, however fast it would be rendered.
inline int blocks_to_give_up(Asking asking, double ahead, double need, double speed, double patience) noexcept {
  constexpr double kMostBlocks = 1000.0;
  const double lacks = need - speed * asking.in_frames;  // of the next block, if nothing of it were there
  const double given_up = std::clamp(std::ceil(lacks / (speed * asking.frames)), 0.0, kMostBlocks);
  const double missed = lacks <= ahead ? 0.0
                        : speed > 1.0  ? std::ceil((lacks - ahead) / ((speed - 1.0) * asking.frames))
                                       : std::numeric_limits<double>::infinity();
  return missed <= given_up && -ahead <= patience ? -1 : static_cast<int>(given_up);
}

}  // namespace rtstream
