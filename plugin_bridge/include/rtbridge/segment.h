// One session's memory: the header of layout.h and its two rings, in POSIX shared memory, a Windows mapping, or
// private memory (remote sessions, tests). Made by the server, opened by the client, then unlinked by the server:
// a segment that nobody has mapped any more is gone, whoever died.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "rtbridge/layout.h"
#include "rtbridge/wake.h"

namespace rtbridge {

struct Geometry {
  uint64_t session = 0;
  uint32_t generation = 1;
  uint32_t sample_rate_hz = 48000;
  uint32_t max_block_frames = 128;
  uint32_t channels = 1;
  uint32_t ring_frames = 0;  // 0: chosen (about a second, at least four times the latency)
  uint32_t transport = RT_TRANSPORT_SHM;
  rt_latency latency{};
};

// Interleaved frames by absolute index. Which thread writes and which reads is told by the owner of the view.
class RingView {
 public:
  RingView() = default;
  RingView(float* data, uint32_t ring_frames, uint32_t channels) noexcept
      : data_(data), mask_(ring_frames - 1), channels_(channels) {}
  uint32_t ring_frames() const noexcept { return mask_ + 1; }
  void write(uint64_t frame, const float* source, uint32_t frames) noexcept;  // frames <= ring_frames
  void read(uint64_t frame, float* target, uint32_t frames) const noexcept;

 private:
  float* data_ = nullptr;
  uint32_t mask_ = 0;
  uint32_t channels_ = 1;
};

class Segment {
 public:
  // name empty: private memory. Throws std::invalid_argument (geometry) or std::system_error (memory).
  static std::shared_ptr<Segment> create(const std::string& name, const Geometry& geometry);
  // Refuses what is not a finished segment of this version: std::runtime_error naming what was found.
  static std::shared_ptr<Segment> open(const std::string& name);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // "/rtserver-PID-SESSION-GENERATION": the pid tells whose it was (see sweep_stale).
  static std::string name_for(uint32_t server_pid, uint64_t session, uint32_t generation);
  // Unlinks segments whose server is not alive any more; gives how many. Linux only (others can't be listed).
  static int sweep_stale() noexcept;

  // For the worker, when the control process that made the segment has died.
  static void unlink_name(const std::string& name) noexcept;
  void unlink() noexcept;  // [control thread] the name goes; mappings stay
  const std::string& name() const noexcept { return name_; }
  bool is_private() const noexcept { return name_.empty(); }

  rt_header& header() noexcept { return *header_; }
  const rt_header& header() const noexcept { return *header_; }
  // Checked once when the segment was made or opened; what the other process writes into the header later does not
  // reach these.
  const Geometry& geometry() const noexcept { return geometry_; }
  RingView input() const noexcept { return input_; }    // client writes, server reads
  RingView output() const noexcept { return output_; }  // server writes, client reads
  Wake server_wake() noexcept;                          // the server sleeps on it
  Wake client_wake() noexcept;                          // an offline client sleeps on it

 private:
  Segment() = default;
  void adopt(void* memory, size_t bytes);

  std::string name_;
  bool owner_ = false;
  bool unlinked_ = false;
  void* memory_ = nullptr;
  void* handle_ = nullptr;  // Windows
  size_t bytes_ = 0;
  rt_header* header_ = nullptr;
  Geometry geometry_;
  RingView input_, output_;
};

uint32_t current_pid() noexcept;
bool process_alive(uint32_t pid) noexcept;

}  // namespace rtbridge
