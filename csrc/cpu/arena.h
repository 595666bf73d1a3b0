// One piece of memory for many arrays, laid out in the order they are asked for: first to count, then to fill.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/memory.h"

namespace rtengine {

inline int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

class Arena {
 public:
  // Runs `lay_out` twice, first with place() giving null. Throws std::bad_alloc. `slack` bytes lie beyond the last
  // array.
  template <class LayOut>
  void build(const LayOut& lay_out, std::size_t slack = 0) {
    memory_.reset();
    size_ = 0;
    lay_out();
    memory_ = allocate_floats((size_ + slack + sizeof(float) - 1) / sizeof(float));
    size_ = 0;
    lay_out();
  }

  // `count` zeros on a line of their own, or null while counting.
  template <class T>
  T* place(std::size_t count) {
    const std::size_t offset = size_;
    size_ += (count * sizeof(T) + kLine - 1) / kLine * kLine;
    return memory_ ? reinterpret_cast<T*>(reinterpret_cast<std::byte*>(memory_.get()) + offset) : nullptr;
  }

 private:
  static constexpr std::size_t kLine = 64;
  std::size_t size_ = 0;
  Memory memory_;
};

}  // namespace rtengine
