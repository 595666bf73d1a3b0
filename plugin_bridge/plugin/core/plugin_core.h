// The plugin without any format: what the CLAP, VST3 and LV2 wrappers share. It holds no DSP: blocks go to the server
// through a rtbridge::Bridge, and a rtbridge::ControlClient keeps the server at the other end of it.
//
// Main thread: activate, deactivate, save, load. Audio thread: process, reset. Any thread, wait-free: set, get,
// set_offline. Hosts guarantee that activate and deactivate never run beside process.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/instruments.h"
#include "core/parameter_table.h"
#include "core/state.h"
#include "rtbridge/bridge.h"
#include "rtbridge/control_client.h"

namespace rtplugin {

enum class Result {
  kOk,
  kFailed,  // a bounce that can't be had: the block is silence, and so is all that follows until the next start
};

class PluginCore : private rtbridge::Guide {
 public:
  PluginCore();
  ~PluginCore() override;
  PluginCore(const PluginCore&) = delete;
  PluginCore& operator=(const PluginCore&) = delete;

  // [main thread, before anything else] Called from any thread but the audio thread when the main thread has something
  // to look at: restart_wanted(), the instruments' names, or the connection.
  void on_news(std::function<void()> tell) { tell_news_ = std::move(tell); }

  // [main thread, inactive] Meets the server if one answers at once, so that latency_frames() is that of the activation
  // to come: for hosts that ask before it. False, changing nothing, for a rate or block that can't be had.
  bool prepare(double sample_rate_hz, uint32_t max_block_frames);
  // [main thread, inactive] False, changing nothing, for a rate, block or number of channels that can't be had. Waits
  // for a server that is still starting only when a bounce is announced.
  bool activate(double sample_rate_hz, uint32_t max_block_frames, uint32_t channels);
  void deactivate();  // [main thread]
  bool active() const noexcept { return bridge_ != nullptr; }
  uint32_t channels() const noexcept { return stream_.channels; }
  // [any thread] Fixed while active; before that, what the next activation would have at the last known rate.
  uint32_t latency_frames() const noexcept;
  // [any thread] What an activation would change: the instrument or margin asks for another latency.
  bool restart_wanted() const noexcept { return restart_wanted_.load(std::memory_order_acquire); }

  void ask_for_restart();  // [not the audio thread] finds out whether one is wanted

  void set(ParameterId id, double value) noexcept;       // [any thread, wait-free]
  double get(ParameterId id) const noexcept;             // [any thread, wait-free] read-outs too
  std::string text(ParameterId id, double value) const;  // [not the audio thread]
  void set_offline(bool offline) noexcept { host_offline_.store(offline, std::memory_order_relaxed); }  // [any thread]

  std::string save() const;  // [main thread]
  // [main thread] False and why_not for what is not a saved state; then nothing changed. with_parameters: false where
  // the host keeps the parameters' values itself.
  bool load(std::string_view text, bool with_parameters, std::string& why_not);
  std::string message() const;          // [main thread] why nothing plays; ""
  std::string instrument_text() const;  // [main thread]

  // [audio thread; wait-free unless offline] Planar; out may be in. Any number of frames, zero too.
  Result process(const float* const* in, float* const* out, uint32_t frames) noexcept;
  void reset() noexcept;  // [audio thread, or main thread beside no process] the next block begins a new stream
  rtbridge::BridgeStats stats() const noexcept;  // [main thread]

 private:
  void learn(const rtbridge::Served& served) override;
  bool choose(const rtbridge::Served& served, Choice& choice, std::string& why_not) override;
  void link_changed() override {
    if (tell_news_) tell_news_();
  }
  uint32_t latency_of(const rtbridge::ModelDelay& delay, double margin) const noexcept;
  uint32_t planned_latency() const;
  bool waits() const noexcept;
  void apply_parameters() noexcept;
  void pass_on(rtbridge::Param param, double value) noexcept;
  bool ready_to_bounce() noexcept;

  std::array<std::atomic<double>, kParameterCount> values_;
  std::atomic<bool> host_offline_{false}, restart_wanted_{false}, unplayable_for_latency_{false};
  std::atomic<bool> failed_{false};
  std::atomic<uint32_t> latency_{0};
  std::atomic<uint64_t> misses_{0};  // the bridge's, for threads that must not touch it: it comes and goes
  std::atomic<double> rate_hz_{48000.0};
  std::function<void()> tell_news_;

  mutable std::mutex mutex_;  // main and control thread
  Instruments instruments_;
  // Decoder of each number in the model that plays, -1 for those of other models: lets the audio thread change decoders
  // at the very block that the host asks for.
  std::array<std::atomic<int16_t>, kInstrumentSlots> decoders_;

  rtbridge::StreamWish stream_;  // main thread; fixed while active
  double jitter_ms_ = 0.0;
  bool met_ = false;  // the server answered when it was asked last
  std::unique_ptr<rtbridge::Bridge> bridge_;

  // Audio thread.
  std::array<double, kParameterCount> applied_{};
  bool applied_once_ = false;
  int16_t applied_decoder_ = -1;
  bool played_ = false;       // something since the stream's start
  bool offline_ = false;      // as the bridge has it
  std::vector<float> block_;  // [max_block, channels] interleaved

  rtbridge::ControlClient client_;  // last: its thread calls back until it is gone
};

}  // namespace rtplugin
