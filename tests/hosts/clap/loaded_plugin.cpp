#include "loaded_plugin.h"

#include <dlfcn.h>

#include <cstring>
#include <stdexcept>
#include <utility>

#include "ext/thread-check.h"

LoadedPlugin::LoadedPlugin(const std::string& path, std::set<std::string> without) : without_(std::move(without)) {
  library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library_) throw std::runtime_error(dlerror());
  entry_ = static_cast<const clap_plugin_entry_t*>(dlsym(library_, "clap_entry"));
  if (!entry_) throw std::runtime_error(path + " has no clap_entry");
  if (!clap_version_is_compatible(entry_->clap_version)) throw std::runtime_error("not a CLAP version of today");
  if (!entry_->init(path.c_str())) throw std::runtime_error("clap_entry.init refused");
  factory_ = static_cast<const clap_plugin_factory_t*>(entry_->get_factory(CLAP_PLUGIN_FACTORY_ID));
  if (!factory_) throw std::runtime_error("no plugin factory");
  host_.clap_version = CLAP_VERSION;
  host_.host_data = this;
  host_.name = "rtserver test host";
  host_.vendor = "rtserver";
  host_.url = "";
  host_.version = "1";
  host_.get_extension = get_extension;
  host_.request_restart = [](const clap_host_t* host) { self(host).requests_.restart++; };
  host_.request_process = [](const clap_host_t* host) { self(host).requests_.process++; };
  host_.request_callback = [](const clap_host_t* host) {
    self(host).requests_.callback++;
    self(host).callback_wanted_ = true;
  };
}

LoadedPlugin::~LoadedPlugin() {
  destroy();
  if (entry_) entry_->deinit();
  if (library_) dlclose(library_);
}

void LoadedPlugin::violation(const std::string& text) const {
  const std::lock_guard<std::mutex> lock(violations_mutex_);
  violations_.push_back(text);
}

std::vector<std::string> LoadedPlugin::violations() const {
  const std::lock_guard<std::mutex> lock(violations_mutex_);
  return violations_;
}

void LoadedPlugin::require_main_thread(const char* what) const {
  if (!on_main_thread()) violation(std::string(what) + " from another thread than the main thread");
}

const void* CLAP_ABI LoadedPlugin::get_extension(const clap_host_t* host, const char* id) {
  static const clap_host_thread_check_t thread_check = {
      [](const clap_host_t* h) { return self(h).on_main_thread(); },
      [](const clap_host_t* h) { return self(h).on_audio_thread(); },
  };
  static const clap_host_latency_t latency = {[](const clap_host_t* h) {
    self(h).requests_.latency_changed++;
    self(h).require_main_thread("latency.changed");
    if (self(h).active_ && !self(h).activating_) self(h).violation("latency.changed while active");
  }};
  static const clap_host_params_t params = {
      [](const clap_host_t* h, clap_param_rescan_flags) {
        self(h).requests_.rescan++;
        self(h).require_main_thread("params.rescan");
      },
      [](const clap_host_t* h, clap_id, clap_param_clear_flags) {
        self(h).requests_.clear++;
        self(h).require_main_thread("params.clear");
      },
      [](const clap_host_t* h) {
        self(h).requests_.flush++;
        if (self(h).on_audio_thread()) self(h).violation("params.request_flush from the audio thread");
      },
  };
  static const clap_host_state_t state = {[](const clap_host_t* h) {
    self(h).requests_.dirty++;
    self(h).require_main_thread("state.mark_dirty");
  }};
  static const std::map<std::string, const void*> known = {
      {CLAP_EXT_THREAD_CHECK, &thread_check},
      {CLAP_EXT_LATENCY, &latency},
      {CLAP_EXT_PARAMS, &params},
      {CLAP_EXT_STATE, &state},
  };
  const auto found = known.find(id);
  return found == known.end() || self(host).without_.contains(id) ? nullptr : found->second;
}

bool LoadedPlugin::create(const std::string& id) {
  destroy();
  const clap_plugin_t* plugin = factory_->create_plugin(factory_, &host_, id.c_str());
  if (!plugin) return false;
  if (!plugin->init(plugin)) {
    plugin->destroy(plugin);
    return false;
  }
  plugin_ = plugin;
  return true;
}

void LoadedPlugin::destroy() {
  if (!plugin_) return;
  deactivate();
  plugin_->destroy(plugin_);
  plugin_ = nullptr;
  callback_wanted_ = false;
}

std::vector<clap_param_info_t> LoadedPlugin::parameters() const {
  std::vector<clap_param_info_t> found;
  const auto* params = extension<clap_plugin_params_t>(CLAP_EXT_PARAMS);
  const uint32_t count = params ? params->count(plugin_) : 0;
  for (uint32_t i = 0; i < count; ++i) {
    clap_param_info_t info{};
    if (params->get_info(plugin_, i, &info))
      found.push_back(info);
    else
      violation("params.get_info refused an index below its count");
  }
  return found;
}

std::vector<uint32_t> LoadedPlugin::ports(bool input) const {
  std::vector<uint32_t> channels;
  const auto* ports = extension<clap_plugin_audio_ports_t>(CLAP_EXT_AUDIO_PORTS);
  const uint32_t count = ports ? ports->count(plugin_, input) : 0;
  for (uint32_t i = 0; i < count; ++i) {
    clap_audio_port_info_t info{};
    if (!ports->get(plugin_, i, input, &info)) violation("audio_ports.get refused an index below its count");
    channels.push_back(info.channel_count);
  }
  return channels;
}

bool LoadedPlugin::activate(double rate, uint32_t low, uint32_t high) {
  deactivate();
  activating_ = true;
  active_ = plugin_->activate(plugin_, rate, low, high);
  activating_ = false;
  rate_ = rate;
  max_frames_ = high;
  return active_;
}

void LoadedPlugin::deactivate() {
  if (active_) plugin_->deactivate(plugin_);
  active_ = false;
}

int64_t LoadedPlugin::latency() const {
  const auto* latency = extension<clap_plugin_latency_t>(CLAP_EXT_LATENCY);
  return latency ? latency->get(plugin_) : -1;
}

bool LoadedPlugin::set_offline(bool offline) {
  const auto* render = extension<RenderExtension>("clap.render");
  return render && render->set(plugin_, offline ? 1 : 0);
}

void LoadedPlugin::pump() {
  if (plugin_ && callback_wanted_.exchange(false)) plugin_->on_main_thread(plugin_);
}
