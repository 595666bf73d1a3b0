// Plugins with planted faults, to show that the host finds them: a stereo delay of 512 frames, honest or reporting 412,
// with one parameter: what the audio thread does wrong at that instant (see kFaults).
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "entry.h"
#include "ext/audio-ports.h"
#include "ext/latency.h"
#include "ext/params.h"
#include "plugin-factory.h"

namespace {

constexpr uint32_t kDelay = 512, kLie = 100;
const std::array<const char*, 10> kFaults = {"none", "new",  "lock",  "futex", "write",
                                             "open", "send", "sleep", "busy",  "work"};

const char* const kFeatures[] = {"audio-effect", nullptr};
clap_plugin_descriptor_t descriptor(const char* id) {
  return {CLAP_VERSION, id, id, "rtserver", "", "", "", "1", "", const_cast<const char**>(kFeatures)};
}
const clap_plugin_descriptor_t kHonest = descriptor("rtserver.test.honest"), kLiar = descriptor("rtserver.test.liar");

volatile std::uintptr_t sink = 0;

struct Instance {
  clap_plugin_t plugin{};
  const clap_host_t* host = nullptr;
  bool liar = false;
  std::array<std::vector<float>, 2> delay{std::vector<float>(kDelay), std::vector<float>(kDelay)};
  size_t at = 0;
  double fault = 0;
  std::mutex mutex;

  void commit(const std::string& name) {
    if (name == "new") {
      auto* memory = new int(1);
      sink = reinterpret_cast<std::uintptr_t>(memory);
      delete memory;
    } else if (name == "lock") {
      const std::lock_guard<std::mutex> lock(mutex);
    } else if (name == "futex") {
      uint32_t word = 0;
      const timespec soon = {0, 1'000'000};
      syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &soon, nullptr, 0);
    } else if (name == "write") {
      sink = static_cast<std::uintptr_t>(write(2, "", 0));
    } else if (name == "open") {
      sink = static_cast<std::uintptr_t>(open("/dev/null", O_RDONLY | O_CLOEXEC));
    } else if (name == "send") {
      sink = static_cast<std::uintptr_t>(send(-1, "", 0, 0));
    } else if (name == "sleep") {
      const timespec soon = {0, 1'000'000};
      nanosleep(&soon, nullptr);
    } else if (name == "busy") {
      timespec now;
      clock_gettime(CLOCK_MONOTONIC, &now);
      const time_t end = now.tv_sec * 1'000'000'000 + now.tv_nsec + 3'000'000;
      do clock_gettime(CLOCK_MONOTONIC, &now);
      while (now.tv_sec * 1'000'000'000 + now.tv_nsec < end);
    } else if (name == "work") {
      for (int i = 0; i < 3000; ++i) sink = sink + 1;
    }
  }

  void read(const clap_input_events_t* events) {
    for (uint32_t i = 0; i < events->size(events); ++i) {
      const clap_event_header_t* header = events->get(events, i);
      if (header->type == CLAP_EVENT_PARAM_VALUE)
        fault = reinterpret_cast<const clap_event_param_value_t*>(header)->value;
    }
  }

  clap_process_status process(const clap_process_t& p) {
    read(p.in_events);
    for (uint32_t i = 0; i < p.frames_count; ++i, at = (at + 1) % kDelay)
      for (size_t c = 0; c < 2; ++c) {
        const float x = p.audio_inputs[0].data32[c][i];
        p.audio_outputs[0].data32[c][i] = delay[c][at];
        delay[c][at] = x;
      }
    if (fault > 0) commit(kFaults[static_cast<size_t>(fault)]);
    fault = 0;
    return CLAP_PROCESS_CONTINUE;
  }
};

Instance& self(const clap_plugin_t* plugin) { return *static_cast<Instance*>(plugin->plugin_data); }

const clap_plugin_audio_ports_t kPorts = {[](const clap_plugin_t*, bool) { return 1u; },
                                          [](const clap_plugin_t*, uint32_t, bool, clap_audio_port_info_t* info) {
                                            *info = {};
                                            info->channel_count = 2;
                                            info->flags = CLAP_AUDIO_PORT_IS_MAIN;
                                            info->port_type = CLAP_PORT_STEREO;
                                            info->in_place_pair = CLAP_INVALID_ID;
                                            return true;
                                          }};
const clap_plugin_latency_t kLatency = {[](const clap_plugin_t* p) { return self(p).liar ? kDelay - kLie : kDelay; }};
const clap_plugin_params_t kParams = {
    [](const clap_plugin_t*) { return 1u; },
    [](const clap_plugin_t*, uint32_t, clap_param_info_t* info) {
      *info = {};
      info->flags = CLAP_PARAM_IS_STEPPED;
      std::strcpy(info->name, "Fault");
      info->max_value = static_cast<double>(kFaults.size() - 1);
      return true;
    },
    [](const clap_plugin_t* p, clap_id, double* value) { return *value = self(p).fault, true; },
    [](const clap_plugin_t*, clap_id, double value, char* display, uint32_t size) {
      std::strncpy(display, kFaults[static_cast<size_t>(value)], size);
      return true;
    },
    [](const clap_plugin_t*, clap_id, const char* display, double* value) {
      for (size_t i = 0; i < kFaults.size(); ++i)
        if (std::string(display) == kFaults[i]) return *value = static_cast<double>(i), true;
      return false;
    },
    [](const clap_plugin_t* p, const clap_input_events_t* in, const clap_output_events_t*) { self(p).read(in); }};

const clap_plugin_factory_t kFactory = {
    [](const clap_plugin_factory_t*) { return 2u; },
    [](const clap_plugin_factory_t*, uint32_t i) -> const clap_plugin_descriptor_t* {
      return i == 0 ? &kHonest : i == 1 ? &kLiar : nullptr;
    },
    [](const clap_plugin_factory_t*, const clap_host_t* host, const char* id) -> const clap_plugin_t* {
      const bool honest = std::strcmp(id, kHonest.id) == 0, liar = std::strcmp(id, kLiar.id) == 0;
      if (!honest && !liar) return nullptr;
      auto* instance = new Instance;
      instance->host = host;
      instance->liar = liar;
      instance->plugin = {
          liar ? &kLiar : &kHonest,
          instance,
          [](const clap_plugin_t*) { return true; },
          [](const clap_plugin_t* p) { delete &self(p); },
          [](const clap_plugin_t*, double, uint32_t, uint32_t) { return true; },
          [](const clap_plugin_t*) {},
          [](const clap_plugin_t*) { return true; },
          [](const clap_plugin_t*) {},
          [](const clap_plugin_t*) {},
          [](const clap_plugin_t* p, const clap_process_t* process) { return self(p).process(*process); },
          [](const clap_plugin_t*, const char* extension) -> const void* {
            if (std::strcmp(extension, CLAP_EXT_AUDIO_PORTS) == 0) return &kPorts;
            if (std::strcmp(extension, CLAP_EXT_LATENCY) == 0) return &kLatency;
            return std::strcmp(extension, CLAP_EXT_PARAMS) == 0 ? &kParams : nullptr;
          },
          [](const clap_plugin_t*) {}};
      return &instance->plugin;
    }};

}  // namespace

extern "C" CLAP_EXPORT const clap_plugin_entry_t clap_entry = {
    CLAP_VERSION, [](const char*) { return true; }, [] {},
    [](const char* id) -> const void* { return std::strcmp(id, CLAP_PLUGIN_FACTORY_ID) == 0 ? &kFactory : nullptr; }};
