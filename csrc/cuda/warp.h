// The warp that runs: where it stands, and what it does together with others. On the device these are instructions; in
// the emulation (emulation.h) a warp is a fiber, and whoever waits lets another run.
#pragma once

#include "cuda/lanes.h"
#include "cuda/task.h"

#if !defined(__CUDACC__)
#include "cuda/emulation.h"
#else

namespace rtcuda {

struct Warp {
  int team, block, warp;  // block: in the team; warp: in the block
  char* memory;           // the block's shared memory
  bool clustered;
  int patience;
  int* failed;

  RTCUDA_DEVICE bool is_first_lane() const { return (threadIdx.x & (kLanes - 1)) == 0; }
  RTCUDA_DEVICE void sync() const { __syncwarp(); }
  RTCUDA_DEVICE void block_barrier() const { __syncthreads(); }
  // All blocks of a cluster. Without one there is nothing to wait for: mail lies in device memory.
  RTCUDA_DEVICE void team_barrier() const {
#if __CUDA_ARCH__ >= 900
    if (clustered) {
      __syncwarp();  // .aligned: the lanes come together
      asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
      asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
      return;
    }
#endif
    __syncthreads();
  }

  // Words that another block may be writing: never from a cache that doesn't see it.
  RTCUDA_DEVICE Quad peek(const float* own, int index) const {
    Quad q;
    asm volatile("ld.relaxed.gpu.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(q.w[0]), "=r"(q.w[1]), "=r"(q.w[2]), "=r"(q.w[3])
                 : "l"(own + index)
                 : "memory");
    return q;
  }
  RTCUDA_DEVICE void send(float* own, int index, int peer, std::uint32_t a, std::uint32_t b, bool wanted) const {
    float* const to = place(own, peer) + index;
    if (wanted) asm volatile("st.relaxed.gpu.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(a), "r"(b) : "memory");
  }
  RTCUDA_DEVICE void send(float* own, int index, int peer, std::uint32_t a, bool wanted) const {
    float* const to = place(own, peer) + index;
    if (wanted) asm volatile("st.relaxed.gpu.u32 [%0], %1;" ::"l"(to), "r"(a) : "memory");
  }
  // Whether to poll on. A warp that has given up once waits for nothing any more, so that a launch always ends.
  RTCUDA_DEVICE bool waits(int polls) {
    if (polls < patience) return true;
    patience = 0;
    *failed = 1;
    return false;
  }

 private:
  RTCUDA_DEVICE float* place(float* own, int peer) const {
#if __CUDA_ARCH__ >= 900
    if (clustered) {
      std::uint64_t to;
      asm("mapa.u64 %0, %1, %2;" : "=l"(to) : "l"(own), "r"(peer));
      return reinterpret_cast<float*>(to);
    }
#endif
    return own;
  }
};

}  // namespace rtcuda

#endif
