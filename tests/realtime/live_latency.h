// The latency of a live session, for the programs that play one without a server.
#pragma once

#include "rtbridge/layout.h"

// As rtserver/latency.py computes it for 48 kHz and blocks of `block_frames`, margin `live`.
inline rt_latency live_latency(int block_frames) {
  rt_latency l{};
  l.block = block_frames;
  l.resampling = 257;
  l.hop = 480;
  l.margin = 240;
  l.fade = 48;
  l.reported = l.block + l.resampling + l.hop + l.margin;
  return l;
}
