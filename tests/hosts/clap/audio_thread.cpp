#include "audio_thread.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "call_trace.h"
#include "instruction_count.h"

namespace {

constexpr uint64_t kMostListed = 20;
constexpr int kPriority = 80;  // above the server's threads, as a sound server's clients are

uint64_t clock_ns(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

// What the calling thread has cost so far.
BlockCost cost_of_thread() {
  BlockCost cost;
#if defined(RUSAGE_THREAD)
  rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  cost.sleeps = static_cast<uint32_t>(usage.ru_nvcsw);
  cost.preemptions = static_cast<uint32_t>(usage.ru_nivcsw);
  cost.faults = static_cast<uint32_t>(usage.ru_minflt + usage.ru_majflt);
#endif
  return cost;
}

// What `call` costs the calling thread.
template <class Call>
BlockCost measured(uint64_t at, uint32_t frames, Call call) {
  const BlockCost before = cost_of_thread();
  const uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  call();
  const auto cpu_us = static_cast<float>(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) * 1e-3f;
  const BlockCost after = cost_of_thread();
  return {at,
          frames,
          cpu_us,
          after.sleeps - before.sleeps,
          after.preemptions - before.preemptions,
          after.faults - before.faults};
}

// What a call of the plugin is compared with: one wake-up of a thread, as a bridge to another process can't do without,
// and copies through a delay line for the rest of the time that a call of the plugin takes: a core that is taken away
// during a wake-up, memory that a hypervisor has to fetch first, cost this as much.
class Reference {
 public:
  Reference() : thread_([this] { listen(); }) {
    const sched_param parameter = {kPriority - 8};
    pthread_setschedparam(thread_.native_handle(), SCHED_FIFO, &parameter);
  }
  ~Reference() {
    done_ = true;
    wake();
    thread_.join();
  }

  void run(float us) {
    const uint64_t until = clock_ns(CLOCK_MONOTONIC) + static_cast<uint64_t>(us * 1e3f);
    wake();
    do {
      for (uint32_t i = 0; i < kFrames; ++i) {
        delay_[at_ % kDelay] = in_[i];
        out_[i] = delay_[(at_++ + 1) % kDelay];
      }
      std::swap(in_, out_);
    } while (clock_ns(CLOCK_MONOTONIC) < until);
  }

 private:
  void wake() {
    ++bell_;
    syscall(SYS_futex, &bell_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  void listen() {
    for (uint32_t heard = bell_; !done_; heard = bell_)
      syscall(SYS_futex, &bell_, FUTEX_WAIT_PRIVATE, heard, nullptr, nullptr, 0);
  }

  static constexpr uint32_t kFrames = 512, kDelay = 16384;
  std::vector<float> in_ = std::vector<float>(kFrames), out_ = in_, delay_ = std::vector<float>(kDelay);
  uint32_t at_ = 0;
  std::atomic<uint32_t> bell_{0};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

float share_of(const BlockCost& cost, double rate) {
  return cost.frames == 0 ? 0.0f : cost.cpu_us * 1e-6f * static_cast<float>(rate) / static_cast<float>(cost.frames);
}

float quantile(const std::vector<BlockCost>& costs, double part) {
  std::vector<float> cpu;
  for (const BlockCost& cost : costs) cpu.push_back(cost.cpu_us);
  std::sort(cpu.begin(), cpu.end());
  return cpu.empty() ? 0.0f : cpu[static_cast<size_t>(static_cast<double>(cpu.size() - 1) * part)];
}

Overruns overruns_of(const std::vector<BlockCost>& costs, double rate) {
  Overruns found;
  std::string list;
  for (const BlockCost& cost : costs) {
    if (share_of(cost, rate) <= Overruns::kShare) continue;
    found.preempted += cost.preemptions > 0;
    if (found.count++ < kMostListed)
      list += (list.empty() ? "[" : ", [") + std::to_string(cost.at) + ", " + std::to_string(cost.cpu_us) + "]";
  }
  found.text = "[" + list + "]";
  return found;
}

// The events of one block, as the plugin reads them.
struct BlockEvents {
  std::vector<clap_event_param_value_t> events;
  clap_input_events_t in{};
  clap_output_events_t out{};

  explicit BlockEvents(size_t most) {
    events.reserve(most);
    in.ctx = this;
    in.size = [](const clap_input_events_t* list) {
      return static_cast<uint32_t>(static_cast<BlockEvents*>(list->ctx)->events.size());
    };
    in.get = [](const clap_input_events_t* list, uint32_t i) {
      const auto& all = static_cast<BlockEvents*>(list->ctx)->events;
      return i < all.size() ? &all[i].header : nullptr;
    };
    out.ctx = this;
    out.try_push = [](const clap_output_events_t*, const clap_event_header_t*) { return true; };
  }

  void add(uint32_t time, const ParameterEvent& event) {
    clap_event_param_value_t e{};
    e.header = {sizeof e, time, CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_PARAM_VALUE, 0};
    e.param_id = event.parameter;
    e.note_id = e.port_index = e.channel = e.key = -1;
    e.value = event.value;
    events.push_back(e);
  }
};

// Planar buffers of every port of one direction; what isn't the main port is silent.
struct Ports {
  std::vector<std::vector<float>> samples;
  std::vector<std::vector<float*>> pointers;
  std::vector<clap_audio_buffer_t> buffers;

  Ports(const std::vector<uint32_t>& channels, uint32_t frames) {
    for (const uint32_t n : channels) {
      std::vector<float*>& channel_pointers = pointers.emplace_back();
      for (uint32_t c = 0; c < n; ++c) channel_pointers.push_back(samples.emplace_back(frames + 1).data());
    }
    for (size_t i = 0; i < channels.size(); ++i) {
      clap_audio_buffer_t buffer{};
      buffer.data32 = pointers[i].data();
      buffer.channel_count = channels[i];
      buffers.push_back(buffer);
    }
  }
};

}  // namespace

AudioThread::~AudioThread() {
  stop();
  if (thread_.joinable()) thread_.join();
}

void AudioThread::start(PlayRequest request) {
  finish();
  request_ = std::move(request);
  report_ = PlayReport{};
  position_ = 0;
  stop_ = false;
  running_ = true;
  thread_ = std::thread([this] { run(); });
}

const PlayReport& AudioThread::finish() {
  if (thread_.joinable()) thread_.join();
  return report_;
}

void AudioThread::run() {
  pthread_setname_np(pthread_self(), "host-audio");
  if (request_.pace == PlayRequest::Pace::kSleep) {
    const sched_param parameter = {kPriority};
    report_.realtime = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameter) == 0;
  }
  plugin_.enter_audio_thread();
  play_blocks();
  plugin_.leave_audio_thread();
  running_ = false;
}

void AudioThread::play_blocks() {
  const clap_plugin_t* plugin = plugin_.plugin();
  const std::vector<uint32_t> in_channels = plugin_.ports(true), out_channels = plugin_.ports(false);
  const uint32_t channels = in_channels.empty() ? 0 : in_channels[0];
  const uint32_t most = *std::max_element(request_.block_sizes.begin(), request_.block_sizes.end());
  Ports in(in_channels, most), out(out_channels, most);
  if (request_.in_place) out.buffers[0].data32 = in.buffers[0].data32;
  BlockEvents events(request_.events.size());
  if (request_.keep_output) report_.output.assign(request_.frames * out_channels[0], 0.0f);
  const uint64_t input_frames = request_.input.size() / std::max(channels, 1u);
  const double rate = plugin_.rate();
  uint64_t positive = 0;
  for (const uint32_t size : request_.block_sizes) positive += size > 0;
  uint64_t sum = 0;
  for (const uint32_t size : request_.block_sizes) sum += size;
  if (positive == 0) return;
  const uint64_t blocks = (request_.frames / sum + 1) * request_.block_sizes.size();
  if (!request_.traced) costs_.assign(blocks, BlockCost{});
  const bool timed = !request_.traced && !request_.counted;
  std::unique_ptr<Reference> reference;
  if (timed) {
    reference_costs_.assign(blocks, BlockCost{});
    reference = std::make_unique<Reference>();
  }
  report_.counted = request_.counted && counting::available();
  float usual_us = 0.0f;  // follows the median

  clap_process_t process{};
  process.audio_inputs = in.buffers.data();
  process.audio_inputs_count = static_cast<uint32_t>(in.buffers.size());
  process.audio_outputs = out.buffers.data();
  process.audio_outputs_count = static_cast<uint32_t>(out.buffers.size());
  process.in_events = &events.in;
  process.out_events = &events.out;

  if (!plugin->start_processing(plugin)) {
    report_.errors = 1;
    return;
  }
  if (request_.traced) report_.traced = trace::arm();
  const uint64_t began = clock_ns(CLOCK_MONOTONIC);
  uint64_t at = 0;
  size_t next_event = 0, block = 0;
  while (at < request_.frames && !stop_) {
    const auto wanted = request_.block_sizes[block % request_.block_sizes.size()];
    const auto n = static_cast<uint32_t>(std::min<uint64_t>(wanted, request_.frames - at));
    for (uint32_t i = 0; i < n; ++i)
      for (uint32_t c = 0; c < channels; ++c)
        in.buffers[0].data32[c][i] = request_.input[((at + i) % input_frames) * channels + c];
    events.events.clear();
    for (; next_event < request_.events.size() && request_.events[next_event].frame < at + std::max(n, 1u);
         ++next_event)
      events.add(static_cast<uint32_t>(std::max(request_.events[next_event].frame, at) - at),
                 request_.events[next_event]);

    // A sound card asks when the block's last frame has been recorded.
    const uint64_t due = began + static_cast<uint64_t>(static_cast<double>(at + n) * 1e9 / rate);
    if (request_.pace == PlayRequest::Pace::kSpin) {
      while (clock_ns(CLOCK_MONOTONIC) < due && !stop_) {
      }
    } else if (request_.pace == PlayRequest::Pace::kSleep) {
      const timespec until = {static_cast<time_t>(due / 1'000'000'000u), static_cast<long>(due % 1'000'000'000u)};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
      if (n > 0 && clock_ns(CLOCK_MONOTONIC) > due + static_cast<uint64_t>(n * 1e9 / rate)) ++report_.late_blocks;
    }

    process.steady_time = static_cast<int64_t>(at);
    process.frames_count = n;
    clap_process_status status = CLAP_PROCESS_CONTINUE;
    if (timed) {
      const auto compare = [&] { reference_costs_[block] = measured(at, n, [&] { reference->run(usual_us); }); };
      if (block % 2 == 0) compare();
      costs_[block] = measured(at, n, [&] { status = plugin->process(plugin, &process); });
      if (block % 2 == 1) compare();
      const float us = costs_[block].cpu_us;
      usual_us = block == 0 ? us : usual_us * (us > usual_us ? 1.02f : 0.98f);
    } else {
      if (report_.counted) counting::start();
      status = plugin->process(plugin, &process);
      if (report_.counted) costs_[block] = {at, n, static_cast<float>(counting::stop())};
    }
    if (status == CLAP_PROCESS_ERROR) {
      if (report_.errors == 0) report_.first_error_frame = at;
      ++report_.errors;
    }
    if (request_.keep_output)
      for (uint32_t i = 0; i < n; ++i)
        for (uint32_t c = 0; c < out_channels[0]; ++c)
          report_.output[(at + i) * out_channels[0] + c] = out.buffers[0].data32[c][i];
    at += n;
    ++block;
    position_.store(at, std::memory_order_relaxed);
  }
  trace::disarm();
  plugin->stop_processing(plugin);

  report_.blocks = block;
  report_.frames = at;
  report_.seconds = static_cast<double>(clock_ns(CLOCK_MONOTONIC) - began) * 1e-9;
  if (request_.traced || block == 0) return;
  costs_.resize(block);
  summarize(rate);
}

void AudioThread::summarize(double rate) {
  if (report_.counted) {
    report_.instructions_p50 = quantile(costs_, 0.5);
    report_.instructions_max = quantile(costs_, 1.0);
    report_.worst = *std::max_element(costs_.begin(), costs_.end(),
                                      [](const auto& a, const auto& b) { return a.cpu_us < b.cpu_us; });
    return;
  }
  reference_costs_.resize(costs_.size());
  for (const BlockCost& cost : costs_) {
    report_.sleeps += cost.sleeps;
    report_.faults += cost.faults;
    if (share_of(cost, rate) <= report_.cpu_share_max) continue;
    report_.cpu_share_max = share_of(cost, rate);
    report_.worst = cost;
  }
  for (const BlockCost& cost : reference_costs_)
    report_.reference_share_max = std::max(report_.reference_share_max, share_of(cost, rate));
  report_.cpu_us_p50 = quantile(costs_, 0.5);
  report_.cpu_us_p99 = quantile(costs_, 0.99);
  report_.cpu_us_max = quantile(costs_, 1.0);
  report_.reference_us_p50 = quantile(reference_costs_, 0.5);
  report_.overruns = overruns_of(costs_, rate);
  report_.reference_overruns = overruns_of(reference_costs_, rate);
}
