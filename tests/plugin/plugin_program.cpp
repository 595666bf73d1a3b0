// Drives a PluginCore from standard input, a command a line, an answer a line; tests/plugin/driver.py is the other end.
//
//   activate RATE BLOCK CHANNELS | deactivate | set SYMBOL VALUE | get SYMBOL | text SYMBOL VALUE | offline 0|1
//   play IN OUT PACE SIZE,SIZE,...   raw float32 files, interleaved; PACE 1 is real time, 0 as fast as it goes
//   confined BLOCKS SIZE PACE FAULT  the same of silence, from a thread that the kernel watches; FAULT: see plant()
//   watch 0|1                        a control surface: another thread reads and sets parameters without a pause
//   save PATH | load PATH | message | latency | restart | latency_of RATE BLOCK HOP LOOKAHEAD LOOPBACK MARGIN JITTER
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "core/plugin_core.h"
#include "rtbridge/json.h"
#include "rtbridge/latency.h"
#include "rtbridge/osc_control.h"
#include "watched_calls.h"

namespace {

using rtplugin::ParameterId;
using rtplugin::PluginCore;

volatile std::uintptr_t sink = 0;
double rate = 48000;
uint32_t channels = 1;

uint64_t now_ns(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void sleep_until(uint64_t ns) {
  const timespec until{static_cast<time_t>(ns / 1000000000u), static_cast<long>(ns % 1000000000u)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}

// What an audio callback must never do.
void plant(const std::string& fault, std::mutex& mutex) {
  if (fault == "new") sink = reinterpret_cast<std::uintptr_t>(std::make_unique<int>(1).get());
  if (fault == "lock") const std::lock_guard<std::mutex> lock(mutex);
  if (fault == "sleep") sleep_until(0);
  if (fault == "write" && write(1, "", 0) != 0) sink = 1;
}

struct Played {
  uint64_t blocks = 0, failed = 0, over_tenth = 0;
  double worst_us = 0.0;
};

// `step` plays one block of `size` frames; what it costs is told by `cost`.
template <class Step>
Played paced(const std::vector<uint32_t>& sizes, uint64_t frames, double pace, clockid_t cost, Step step) {
  Played played;
  const uint64_t start = now_ns(CLOCK_MONOTONIC);
  for (uint64_t at = 0; at < frames; ++played.blocks) {
    const auto size = static_cast<uint32_t>(std::min<uint64_t>(sizes[played.blocks % sizes.size()], frames - at));
    if (pace > 0) sleep_until(start + static_cast<uint64_t>(1e9 * static_cast<double>(at) / rate / pace));
    const uint64_t before = now_ns(cost);
    if (!step(at, size)) ++played.failed;
    const double us = static_cast<double>(now_ns(cost) - before) / 1000.0;
    played.worst_us = std::max(played.worst_us, us);
    if (us > 1e5 * size / rate) ++played.over_tenth;
    at += size;
  }
  return played;
}

void tell(const PluginCore& core, const Played& p) {
  const auto stats = core.stats();
  std::cout << "ok blocks=" << p.blocks << " failed=" << p.failed << " over_tenth=" << p.over_tenth
            << " worst_us=" << p.worst_us << " misses=" << stats.misses << " allocations=" << watched::allocations
            << " locks=" << watched::locks << " waits=" << watched::waits << " kernel_calls=" << watched::kernel_calls
            << std::endl;
}

void play(PluginCore& core, std::istringstream& line) {
  std::string in_path, out_path, list;
  double pace = 0;
  line >> in_path >> out_path >> pace >> list;
  std::vector<uint32_t> sizes;
  std::istringstream numbers(list);
  for (std::string number; std::getline(numbers, number, ',');)
    sizes.push_back(static_cast<uint32_t>(std::stoul(number)));
  const std::string raw = contents(in_path);
  const auto* samples = reinterpret_cast<const float*>(raw.data());
  const uint64_t frames = raw.size() / sizeof(float) / channels;
  std::vector<float> result(frames * channels);
  std::vector<std::vector<float>> planes(channels, std::vector<float>(65536));
  watched::clear();
  Played played;
  std::thread audio([&] {
    played = paced(sizes, frames, pace, CLOCK_THREAD_CPUTIME_ID, [&](uint64_t at, uint32_t size) {
      float* block[2] = {};
      for (uint32_t c = 0; c < channels; ++c) {
        block[c] = planes[c].data();
        for (uint32_t i = 0; i < size; ++i) block[c][i] = samples[(at + i) * channels + c];
      }
      watched::armed = true;
      const auto outcome = core.process(block, block, size);
      watched::armed = false;
      for (uint32_t c = 0; c < channels; ++c)
        for (uint32_t i = 0; i < size; ++i) result[(at + i) * channels + c] = block[c][i];
      return outcome == rtplugin::Result::kOk;
    });
  });
  audio.join();
  std::ofstream(out_path, std::ios::binary)
      .write(reinterpret_cast<const char*>(result.data()), static_cast<std::streamsize>(result.size() * sizeof(float)));
  tell(core, played);
}

void confined(PluginCore& core, std::istringstream& line) {
  uint64_t blocks = 0;
  uint32_t size = 0;
  double pace = 0;
  std::string fault;
  line >> blocks >> size >> pace >> fault;
  std::vector<float> silence(size);
  std::mutex mutex;
  {
    const std::lock_guard<std::mutex> lock(mutex);  // finds the real functions before it counts
    sleep_until(0);
  }
  watched::clear();
  std::atomic<bool> done{false}, fine{false};
  Played played;
  const std::vector<uint32_t> sizes{size};
  std::thread audio([&] {
    sink = reinterpret_cast<std::uintptr_t>(std::make_unique<int>(1).get());  // the heap's part for this thread
    fine = watched::confine_thread();
    uint64_t index = 0;
    played = paced(sizes, blocks * size, pace, CLOCK_MONOTONIC, [&](uint64_t, uint32_t frames) {
      float* block[2] = {silence.data(), silence.data()};
      watched::armed = true;
      // What hosts do from their audio threads.
      core.set(ParameterId::kMix, static_cast<double>(index % 101));
      core.set(ParameterId::kTemperature, static_cast<double>(index % 3) * 0.5);
      core.set(ParameterId::kPanic, index % 5000 == 4999 ? 1.0 : 0.0);
      const auto outcome = core.process(block, block, index % 11 == 0 ? 0 : frames);
      if (index == blocks / 2) plant(fault, mutex);
      watched::armed = false;
      ++index;
      return outcome == rtplugin::Result::kOk;
    });
    done = true;
    syscall(SYS_exit, 0);  // the usual end needs calls that this thread may not make any more
  });
  audio.detach();
  while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  if (fine)
    tell(core, played);
  else
    std::cout << "refused the kernel can't watch a thread here" << std::endl;
}

// Everything that any thread may call, whatever the main and the audio thread do meanwhile.
class Surface {
 public:
  explicit Surface(PluginCore& core)
      : thread_([this, &core] {
          for (uint64_t turn = 0; !done_; ++turn) {
            for (const rtplugin::Parameter& p : rtplugin::parameters()) seen_ = core.get(p.id);
            seen_ = core.latency_frames() + core.restart_wanted();
            core.set(ParameterId::kMix, static_cast<double>(turn % 101));
            core.set(ParameterId::kInstrument, static_cast<double>(turn / 500 % 2));
            std::this_thread::sleep_for(std::chrono::microseconds(100));
          }
        }) {}
  ~Surface() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  volatile double seen_ = 0;
  std::thread thread_;
};

}  // namespace

int main() {
  auto core = std::make_unique<PluginCore>();
  std::unique_ptr<Surface> surface;
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream line(text);
    std::string command, symbol, why;
    double value = 0;
    line >> command;
    if (command == "activate") {
      uint32_t block = 0;
      line >> rate >> block >> channels;
      const bool done = core->activate(rate, block, channels);
      std::cout << (done ? "ok latency=" : "refused latency=") << core->latency_frames() << std::endl;
    } else if (command == "set" || command == "get" || command == "text") {
      line >> symbol >> value;
      const rtplugin::Parameter* p = rtplugin::find_parameter(symbol);
      if (command == "set") core->set(p->id, value);
      if (command == "text")
        std::cout << "ok " << core->text(p->id, value) << std::endl;
      else
        std::cout << "ok value=" << core->get(p->id) << std::endl;
    } else if (command == "offline") {
      line >> value;
      core->set_offline(value != 0);
      std::cout << "ok" << std::endl;
    } else if (command == "watch") {
      line >> value;
      surface = value != 0 ? std::make_unique<Surface>(*core) : nullptr;
      std::cout << "ok" << std::endl;
    } else if (command == "play") {
      play(*core, line);
    } else if (command == "confined") {
      confined(*core, line);
    } else if (command == "save") {
      line >> symbol;
      std::ofstream(symbol, std::ios::binary) << core->save();
      std::cout << "ok" << std::endl;
    } else if (command == "load") {
      line >> symbol;
      const bool done = core->load(contents(symbol), true, why);
      std::cout << (done ? "ok" : "refused " + why) << std::endl;
    } else if (command == "deactivate") {
      core->deactivate();
      std::cout << "ok" << std::endl;
    } else if (command == "message") {
      std::cout << "ok " << core->message() << std::endl;
    } else if (command == "latency") {
      std::cout << "ok latency=" << core->latency_frames() << std::endl;
    } else if (command == "restart") {
      std::cout << "ok value=" << core->restart_wanted() << std::endl;
    } else if (command == "latency_of") {
      uint32_t rate_hz = 0, block = 0;
      rtbridge::ModelDelay delay;
      double margin = 0, jitter = 0;
      line >> rate_hz >> block >> delay.hop_samples >> delay.lookahead_samples >> delay.loopback >> margin >> jitter;
      const rt_latency l = rtbridge::compute_latency(rate_hz, block, delay, margin, jitter);
      std::cout << "ok block=" << l.block << " resampling=" << l.resampling << " lookahead=" << l.lookahead
                << " hop=" << l.hop << " margin=" << l.margin << " jitter=" << l.jitter << " reported=" << l.reported
                << " fade=" << l.fade << std::endl;
    } else if (command == "json") {
      line >> symbol;
      std::cout << (rtbridge::Json::parse(contents(symbol)) ? "ok" : "refused") << std::endl;
    } else {
      std::cout << "refused what is " << command << std::endl;
    }
  }
  return 0;
}
