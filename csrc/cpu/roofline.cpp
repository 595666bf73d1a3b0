#include "cpu/roofline.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace rtengine {

double read_loop_seconds(std::int64_t bytes, int repeats) {
  if (bytes < 1 || repeats < 1)
    throw std::invalid_argument("read loop: expected a positive number of bytes and repeats, found " +
                                std::to_string(bytes) + " and " + std::to_string(repeats));
  std::vector<std::uint64_t> memory(static_cast<std::size_t>(bytes + 7) / 8, 1);
  std::vector<double> seconds;
  volatile std::uint64_t sink = 0;
  for (int i = 0; i < repeats + 2; ++i) {
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t sum = 0;
    for (const std::uint64_t value : memory) sum += value;
    sink = sink + sum;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (i >= 2) seconds.push_back(elapsed.count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<std::size_t>(repeats / 2)];
}

}  // namespace rtengine
