#include "cpu/roofline.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/memory.h"

namespace rtengine {
namespace {

[[maybe_unused]] float read_scalar(const float* memory, std::size_t count) noexcept {
  float sums[16] = {};
  for (std::size_t i = 0; i + 16 <= count; i += 16)
    for (std::size_t j = 0; j < 16; ++j) sums[j] += memory[i + j];
  float sum = 0.0f;
  for (const float part : sums) sum += part;
  return sum;
}

auto best_read_loop() {
#if defined(__x86_64__) || defined(_M_X64)
  if (float_isa(available_isas().back()) == Isa::kAvx512) return kAvx512Kernels.read;
  if (float_isa(available_isas().back()) == Isa::kAvx2) return kAvx2Kernels.read;
  return &read_scalar;
#elif defined(__aarch64__) || defined(_M_ARM64)
  return kNeonKernels.read;
#else
  return &read_scalar;
#endif
}

}  // namespace

double read_loop_seconds(std::int64_t bytes, int repeats) {
  if (bytes < 1 || repeats < 1)
    throw std::invalid_argument("read loop: expected a positive number of bytes and repeats, found " +
                                std::to_string(bytes) + " and " + std::to_string(repeats));
  constexpr int kWarmUps = 2;
  constexpr std::size_t kUnit = 128;  // floats a turn of the longest loop
  const std::size_t count = (static_cast<std::size_t>(bytes) / sizeof(float) + kUnit) / kUnit * kUnit;
  const Memory memory = allocate_floats(count);
  const auto read = best_read_loop();
  std::vector<double> seconds;
  [[maybe_unused]] volatile float sink = 0.0f;
  for (int i = 0; i < repeats + kWarmUps; ++i) {
    const auto start = std::chrono::steady_clock::now();
    sink = read(memory.get(), count);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (i >= kWarmUps) seconds.push_back(elapsed.count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<std::size_t>(repeats / 2)];
}

}  // namespace rtengine
