// The machine that runs the kernel: a GPU (device_cuda.cu), or its emulation (device_emulated.cpp). One of the two is
// linked. Every member throws DeviceError unless it says otherwise.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

#include "cuda/pack.h"
#include "cuda/task.h"

namespace rtcuda {

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct DeviceLimits {
  std::string name;
  int multiprocessors = 0;
  int shared_bytes = 0;        // that a block can have
  bool clusters = false;       // thread-block clusters with distributed shared memory
  std::size_t free_bytes = 0;  // of device memory, now
};

// Of one launch.
struct LaunchShape {
  Precision precision = Precision::kFloat16;
  int together = 1;  // the kernel's kTogether, 1 or 4; in fp32, which is for tests, always 1
  int teams = 1, blocks = 1, warps = 1;
  int shared_bytes = 0;
  bool clustered = false;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceLimits limits() = 0;
  virtual void* allocate(std::size_t bytes) = 0;       // zeros
  virtual void release(void* memory) noexcept = 0;     // waits for what runs: not while a stream plays
  virtual void* allocate_host(std::size_t bytes) = 0;  // both sides see it, at the same address
  virtual void release_host(void* memory) noexcept = 0;
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;

  // How many teams can run at once; 0: such a launch is impossible here.
  virtual int most_teams(const LaunchShape& shape) = 0;

  // Copies `bytes` of host memory (allocate_host) to the device, clears `mail_bytes` of task.mail, runs the kernel and
  // returns when it is done.
  virtual void play(const LaunchShape& shape, const Task& task, void* to, const void* from, std::size_t bytes,
                    std::size_t mail_bytes) = 0;
};

// Throws DeviceError, in one line, where there is no such device or no driver.
std::unique_ptr<Device> open_device(int index);
int device_count() noexcept;

}  // namespace rtcuda
