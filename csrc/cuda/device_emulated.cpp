#include <cstdlib>
#include <cstring>

#include "cuda/device.h"
#include "cuda/emulation.h"
#include "cuda/kernel.h"

namespace rtcuda {
namespace {

template <class Format>
void play_in(const LaunchShape& shape, const Task& task, Warp& warp) {
  if (shape.together == 1)
    Player<Format, 1>(task, warp).run();
  else
    Player<Format, 4>(task, warp).run();
}

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(bool clusters) : clusters_(clusters) {}

  DeviceLimits limits() override { return {"emulation", 8, 96 << 10, clusters_, std::size_t{4} << 30}; }
  void* allocate(std::size_t bytes) override {
    void* const memory = std::calloc((bytes + 63) / 64, 64);
    if (!memory) throw DeviceError("out of memory");
    return memory;
  }
  void release(void* memory) noexcept override { std::free(memory); }
  void* allocate_host(std::size_t bytes) override { return allocate(bytes); }
  void release_host(void* memory) noexcept override { std::free(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  int most_teams(const LaunchShape& shape) override {
    return shape.clustered && !clusters_ ? 0 : limits().multiprocessors / shape.blocks;
  }

  void play(const LaunchShape& shape, const Task& task, void* to, const void* from, std::size_t bytes,
            std::size_t mail_bytes) override {
    std::memcpy(to, from, bytes);
    if (mail_bytes) std::memset(task.mail, 0, mail_bytes);
    Emulation emulation(shape.teams, shape.blocks, shape.warps, shape.shared_bytes, shape.clustered, task.patience,
                        task.failed);
    emulation.run([&](Warp& warp) {
      switch (shape.precision) {
        case Precision::kFloat16:
          return play_in<HalfFormat>(shape, task, warp);
        case Precision::kBf16:
          return play_in<Bf16Format>(shape, task, warp);
        case Precision::kFloat32:
          return Player<FloatFormat, 1>(task, warp).run();
        case Precision::kInt8:
          return play_in<ByteFormat>(shape, task, warp);
      }
    });
  }

 private:
  bool clusters_;
};

}  // namespace

// Device 0 has clusters, device 1 has none.
std::unique_ptr<Device> open_device(int index) {
  if (index < 0 || index > 1) throw DeviceError("no emulated device " + std::to_string(index));
  return std::make_unique<EmulatedDevice>(index == 0);
}
int device_count() noexcept { return 2; }

}  // namespace rtcuda
