// A CLAP plugin in a host: the shared library, one instance, and everything that the host answers when it is asked.
// The host's own extensions can be left out, as a poorer host would; calls from the wrong thread are written down.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "entry.h"
#include "ext/audio-ports.h"
#include "ext/latency.h"
#include "ext/params.h"
#include "ext/state.h"
#include "plugin-factory.h"
#include "plugin.h"

// Not in every copy of the headers; from CLAP 1.1's ext/render.h.
struct RenderExtension {
  bool(CLAP_ABI* has_hard_realtime_requirement)(const clap_plugin_t* plugin);
  bool(CLAP_ABI* set)(const clap_plugin_t* plugin, int32_t mode);  // 0 realtime, 1 offline
};

// What the plugin asked of the host.
struct Requests {
  std::atomic<int> restart{0}, process{0}, callback{0}, latency_changed{0}, rescan{0}, clear{0}, flush{0}, dirty{0};
};

class LoadedPlugin {
 public:
  // `without`: ids of extensions that this host does not have.
  LoadedPlugin(const std::string& path, std::set<std::string> without);  // throws std::runtime_error
  ~LoadedPlugin();
  LoadedPlugin(const LoadedPlugin&) = delete;
  LoadedPlugin& operator=(const LoadedPlugin&) = delete;

  const void* factory(const char* id) const { return entry_->get_factory(id); }
  const clap_plugin_factory_t& plugins() const { return *factory_; }
  bool create(const std::string& id);  // and init; false if the factory has none or init failed
  void destroy();
  const clap_plugin_t* plugin() const { return plugin_; }

  template <class Extension>
  const Extension* extension(const char* id) const {
    return plugin_ ? static_cast<const Extension*>(plugin_->get_extension(plugin_, id)) : nullptr;
  }
  std::vector<clap_param_info_t> parameters() const;
  // Channels of each audio port, the main port first.
  std::vector<uint32_t> ports(bool input) const;

  bool activate(double rate, uint32_t low, uint32_t high);
  void deactivate();
  bool active() const { return active_; }
  double rate() const { return rate_; }
  uint32_t max_frames() const { return max_frames_; }
  int64_t latency() const;  // -1 without the extension
  bool set_offline(bool offline);

  // [main thread] on_main_thread, if the plugin has asked for it since.
  void pump();
  void enter_audio_thread() { audio_thread_ = std::this_thread::get_id(); }
  void leave_audio_thread() { audio_thread_ = std::thread::id(); }
  const Requests& requests() const { return requests_; }
  std::vector<std::string> violations() const;

 private:
  static LoadedPlugin& self(const clap_host_t* host) { return *static_cast<LoadedPlugin*>(host->host_data); }
  static const void* CLAP_ABI get_extension(const clap_host_t* host, const char* id);
  bool on_main_thread() const { return std::this_thread::get_id() == main_thread_; }
  bool on_audio_thread() const { return std::this_thread::get_id() == audio_thread_.load(); }
  void violation(const std::string& text) const;
  void require_main_thread(const char* what) const;

  void* library_ = nullptr;
  const clap_plugin_entry_t* entry_ = nullptr;
  const clap_plugin_factory_t* factory_ = nullptr;
  const clap_plugin_t* plugin_ = nullptr;
  clap_host_t host_{};
  const std::set<std::string> without_;
  const std::thread::id main_thread_ = std::this_thread::get_id();
  std::atomic<std::thread::id> audio_thread_{};
  Requests requests_;
  std::atomic<bool> callback_wanted_{false};
  bool active_ = false, activating_ = false;
  double rate_ = 0.0;
  uint32_t max_frames_ = 0;
  mutable std::mutex violations_mutex_;
  mutable std::vector<std::string> violations_;
};
