// The kernel on a GPU, and the calls of the CUDA runtime around it. The runtime is linked statically and looks for the
// driver when it is first used: without one, open_device says so and nothing else happens.
#include <cuda_runtime.h>

#include <string>
#include <thread>

#include "cuda/device.h"
#include "cuda/kernel.h"

namespace rtcuda {
namespace {

constexpr int kMostThreads = kMostWarps * kLanes;

template <class Format, int kTogether>
__global__ void __launch_bounds__(kMostThreads, 1) decode(const __grid_constant__ Task task) {
  extern __shared__ __align__(16) char memory[];
  const int blocks = task.shape.team_blocks, block = static_cast<int>(blockIdx.x);
  Warp warp{block / blocks, block % blocks, static_cast<int>(threadIdx.x) / kLanes, memory, task.clustered != 0,
            task.patience,  task.failed};
  Player<Format, kTogether>(task, warp).run();
}

using Kernel = void (*)(Task);

Kernel kernel_of(const LaunchShape& shape) {
  const bool one = shape.together == 1;
  switch (shape.precision) {
    case Precision::kFloat16:
      return one ? decode<HalfFormat, 1> : decode<HalfFormat, 4>;
    case Precision::kBf16:
      return one ? decode<Bf16Format, 1> : decode<Bf16Format, 4>;
    case Precision::kFloat32:
      return decode<FloatFormat, 1>;
    default:
      return one ? decode<ByteFormat, 1> : decode<ByteFormat, 4>;
  }
}

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw DeviceError(std::string(what) + ": " + cudaGetErrorString(status));
}

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index) : index_(index) {
    use();
    check(cudaGetDeviceProperties(&properties_, index), "device properties");
    if (properties_.major < 8)
      throw DeviceError(std::string(properties_.name) + ": expected compute capability 8.0 or later, found " +
                        std::to_string(properties_.major) + "." + std::to_string(properties_.minor));
    int low = 0, high = 0;
    check(cudaDeviceGetStreamPriorityRange(&low, &high), "stream priorities");
    check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, high), "stream");
  }
  ~CudaDevice() override {
    cudaSetDevice(index_);
    cudaStreamDestroy(stream_);
  }

  DeviceLimits limits() override {
    use();
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "device memory");
    return {properties_.name, properties_.multiProcessorCount, static_cast<int>(properties_.sharedMemPerBlockOptin),
            properties_.major >= 9, free};
  }
  void* allocate(std::size_t bytes) override {
    use();
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "device memory");
    check(cudaMemsetAsync(memory, 0, bytes, stream_), "clearing device memory");
    check(cudaStreamSynchronize(stream_), "clearing device memory");
    return memory;
  }
  void release(void* memory) noexcept override {
    cudaSetDevice(index_);
    cudaFree(memory);
  }
  void* allocate_host(std::size_t bytes) override {
    use();
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable), "pinned host memory");
    return memory;
  }
  void release_host(void* memory) noexcept override { cudaFreeHost(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override {
    use();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copy to the device");
    check(cudaStreamSynchronize(stream_), "copy to the device");
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    use();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "copy from the device");
    check(cudaStreamSynchronize(stream_), "copy from the device");
  }

  int most_teams(const LaunchShape& shape) override {
    use();
    if (shape.clustered && properties_.major < 9) return 0;
    if (!allow(shape)) return 0;
    const auto kernel = reinterpret_cast<const void*>(kernel_of(shape));
    if (!shape.clustered) {
      int blocks = 0;
      check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, shape.warps * kLanes,
                                                          static_cast<std::size_t>(shape.shared_bytes)),
            "occupancy");
      return blocks * properties_.multiProcessorCount / shape.blocks;
    }
    cudaLaunchAttribute attribute[2];
    const cudaLaunchConfig_t config = configuration(shape, attribute);
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) != cudaSuccess) {
      cudaGetLastError();
      return 0;
    }
    return clusters;
  }

  void play(const LaunchShape& shape, const Task& task, void* to, const void* from, std::size_t bytes,
            std::size_t mail_bytes) override {
    use();
    if (!allow(shape))
      throw DeviceError("launch: the device refuses blocks of " + std::to_string(shape.shared_bytes) +
                        " bytes of shared memory");
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copy to the device");
    if (mail_bytes) check(cudaMemsetAsync(task.mail, 0, mail_bytes, stream_), "clearing mail");
    cudaLaunchAttribute attribute[2];
    const cudaLaunchConfig_t config = configuration(shape, attribute);
    check(cudaLaunchKernelEx(&config, kernel_of(shape), task), "launch");
    // Polled, because to be woken takes longer than a chunk's share of the time that there is.
    cudaError_t status;
    while ((status = cudaStreamQuery(stream_)) == cudaErrorNotReady) std::this_thread::yield();
    check(status, "kernel");
  }

 private:
  void use() { check(cudaSetDevice(index_), "device"); }

  // Lifts what limits a kernel by default: shared memory above 48 KB, clusters above 8 blocks.
  bool allow(const LaunchShape& shape) {
    const auto kernel = reinterpret_cast<const void*>(kernel_of(shape));
    const bool fine =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.shared_bytes) == cudaSuccess &&
        (!shape.clustered || shape.blocks <= 8 ||
         cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1) == cudaSuccess);
    if (!fine) cudaGetLastError();
    return fine;
  }

  cudaLaunchConfig_t configuration(const LaunchShape& shape, cudaLaunchAttribute (&attribute)[2]) const {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(shape.teams * shape.blocks));
    config.blockDim = dim3(static_cast<unsigned>(shape.warps * kLanes));
    config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
    config.stream = stream_;
    if (shape.clustered) {
      attribute[0].id = cudaLaunchAttributeClusterDimension;
      attribute[0].val.clusterDim.x = static_cast<unsigned>(shape.blocks);
      attribute[0].val.clusterDim.y = attribute[0].val.clusterDim.z = 1;
    } else {  // all blocks must run at once: they wait for one another
      attribute[0].id = cudaLaunchAttributeCooperative;
      attribute[0].val.cooperative = 1;
    }
    config.attrs = attribute;
    config.numAttrs = 1;
    return config;
  }

  int index_;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
};

}  // namespace

std::unique_ptr<Device> open_device(int index) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) throw DeviceError(cudaGetErrorString(status));
  if (index < 0 || index >= count)
    throw DeviceError("there is no device " + std::to_string(index) + ", found " + std::to_string(count));
  return std::make_unique<CudaDevice>(index);
}

int device_count() noexcept {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

}  // namespace rtcuda
