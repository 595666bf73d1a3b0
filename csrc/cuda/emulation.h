// A GPU in slow motion: the kernel's warps as fibers on the CPU, for tests on machines without one. Memory between
// blocks is as weak as it may be: what is sent arrives word by word, later, in any order. Whose turn it is, and what
// arrives when, follows from a seed, so that a missing wait or barrier shows, and shows again. Speed means nothing
// here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "cuda/lanes.h"

namespace rtcuda {

struct EmulationOptions {
  std::uint32_t seed = 0;  // 0: in turns, and mail arrives at once
  enum Fault { kNone, kNoBlockBarrier, kNoWaiting } fault = kNone;
};
inline EmulationOptions emulation_options;  // of the launches to come

class Emulation;

struct Warp {
  int team, block, warp;
  char* memory;
  bool clustered;
  int patience;
  int* failed;
  Emulation* emulation;

  bool is_first_lane() const { return true; }
  void sync() const {}
  void block_barrier() const;
  void team_barrier() const;
  Quad peek(const float* own, const Ints& index) const;
  void send(float* own, const Ints& index, const Ints& peer, const Words& a, const Words& b, const Mask& wanted) const {
    send(own, index, peer, a, wanted);
    send(own, index + 1, peer, b, wanted);
  }
  void send(float* own, const Ints& index, const Ints& peer, const Words& a, const Mask& wanted) const;
  bool waits(int polls);
};

// One launch: teams x blocks x warps fibers, each of which runs `body`.
class Emulation {
 public:
  using Body = std::function<void(Warp&)>;
  Emulation(int teams, int blocks, int warps, int memory_bytes, bool clustered, int patience, int* failed);
  ~Emulation();
  void run(const Body& body);

 private:
  friend struct Warp;
  struct Fiber;
  struct Barrier {
    int waiting = 0, passed = 0;
  };
  struct Letter {
    std::uint32_t* to;
    std::uint32_t word;
  };

  void yield();
  void wait(Barrier& barrier, int count);
  void deliver(bool all);
  char* memory_of(int team, int block) { return memories_[static_cast<std::size_t>(team * blocks_ + block)].get(); }

  int teams_, blocks_, warps_;
  bool done_ = false;
  std::mt19937 random_;
  std::vector<std::unique_ptr<char[]>> memories_;
  std::vector<Barrier> block_barriers_, team_barriers_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Letter> letters_;
  Fiber* running_ = nullptr;
  const Body* body_ = nullptr;
  static Emulation* current_;
  static void start();
};

}  // namespace rtcuda
