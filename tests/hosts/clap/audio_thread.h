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
  bool traced = false;   // see call_trace.h; nothing is timed then, because clocks are system calls
  bool counted = false;  // see instruction_count.h; nothing is timed then
  bool keep_output = true;
  bool in_place = false;  // output buffers are the input buffers
};

struct BlockCost {
  uint64_t at = 0;  // first frame
  uint32_t frames = 0;
  float cpu_us = 0;          // CLOCK_THREAD_CPUTIME_ID; instructions where they are counted
  uint32_t sleeps = 0;       // voluntary context switches
  uint32_t preemptions = 0;  // the others
  uint32_t faults = 0;       // page faults
};

// Calls that took more of their block than a callback may.
struct Overruns {
  static constexpr float kShare = 0.1f;
  uint64_t count = 0, preempted = 0;  // preempted: those that another thread interrupted
  std::string text = "[]";            // the first of them: JSON, a list of [first frame, microseconds]
};

struct PlayReport {
  uint64_t blocks = 0, frames = 0, errors = 0, sleeps = 0, faults = 0, late_blocks = 0;
  float cpu_us_p50 = 0, cpu_us_p99 = 0, cpu_us_max = 0;
  float cpu_share_max = 0;  // of the block's own duration
  BlockCost worst;          // the block of that share
  // Before or after each call, in turn, the thread does something of the same length that is known (Reference), and
  // that is measured like a call: what the machine does to the plugin it does to this as often.
  Overruns overruns, reference_overruns;
  float reference_us_p50 = 0, reference_share_max = 0;
  bool counted = false;
  float instructions_p50 = 0, instructions_max = 0;
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
  void summarize(double rate);

  LoadedPlugin& plugin_;
  PlayRequest request_;
  PlayReport report_;
  std::vector<BlockCost> costs_, reference_costs_;
  std::thread thread_;
  std::atomic<bool> running_{false}, stop_{false};
  std::atomic<uint64_t> position_{0};
};
