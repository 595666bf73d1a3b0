// The audio thread of a host: hands a plugin its blocks, at the pace of a sound card or as fast as they go, with
// parameter events in them, and writes down what each call cost.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "loaded_plugin.h"

struct ParameterEvent {
  uint64_t frame;
  uint32_t parameter;
  double value;
};

struct PlayRequest {
  std::vector<float> input;            // [frames, channels] of the main port, interleaved; played again if too short
  std::vector<uint32_t> block_sizes;   // in turn; 0 is a block of no frames
  std::vector<ParameterEvent> events;  // by frame
  uint64_t frames = 0;
  enum class Pace { kFree, kSleep, kSpin } pace = Pace::kFree;
  bool traced = false;  // see call_trace.h; nothing is timed then, because clocks are system calls
  bool keep_output = true;
  bool in_place = false;  // output buffers are the input buffers
};

struct BlockCost {
  uint64_t at = 0;  // first frame
  uint32_t frames = 0;
  float cpu_us = 0;          // CLOCK_THREAD_CPUTIME_ID
  uint32_t sleeps = 0;       // voluntary context switches
  uint32_t preemptions = 0;  // the others
  uint32_t faults = 0;       // minor page faults
};

struct PlayReport {
  uint64_t blocks = 0, frames = 0, errors = 0, sleeps = 0, faults = 0, late_blocks = 0;
  float cpu_us_p50 = 0, cpu_us_p99 = 0, cpu_us_max = 0;
  float cpu_share_max = 0;  // of the block's own duration
  BlockCost worst;          // the block of that share
  uint64_t first_error_frame = 0;
  bool traced = false, realtime = false;
  double seconds = 0;
  std::vector<float> output;  // [frames, channels]
};

class AudioThread {
 public:
  explicit AudioThread(LoadedPlugin& plugin) : plugin_(plugin) {}
  ~AudioThread();

  void start(PlayRequest request);
  bool running() const { return running_; }
  uint64_t position() const { return position_; }  // frames played
  void stop() { stop_ = true; }
  const PlayReport& finish();  // waits for the end

 private:
  void run();
  void play_blocks();

  LoadedPlugin& plugin_;
  PlayRequest request_;
  PlayReport report_;
  std::vector<BlockCost> costs_;
  std::thread thread_;
  std::atomic<bool> running_{false}, stop_{false};
  std::atomic<uint64_t> position_{0};
};
