// The plugin as CLAP: a thin wrapper around PluginCore on the format's own headers. Two plugins, stereo and mono.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>

#include "clap/entry.h"
#include "clap/ext/audio-ports.h"
#include "clap/ext/latency.h"
#include "clap/ext/params.h"
#include "clap/ext/state.h"
#include "clap/plugin-factory.h"
#include "clap/plugin-features.h"
#include "core/plugin_core.h"
#include "formats/clap_render.h"
#include "formats/identity.h"

namespace rtplugin {
namespace {

constexpr uint32_t kReadOutMs = 100;  // read-outs are sent no more often

void copy_text(char* target, size_t capacity, const std::string& text) {
  std::snprintf(target, capacity, "%s", text.c_str());
}

const char* kStereoFeatures[] = {CLAP_PLUGIN_FEATURE_AUDIO_EFFECT, CLAP_PLUGIN_FEATURE_STEREO, nullptr};
const char* kMonoFeatures[] = {CLAP_PLUGIN_FEATURE_AUDIO_EFFECT, CLAP_PLUGIN_FEATURE_MONO, nullptr};
const clap_plugin_descriptor_t kDescriptors[] = {
    {CLAP_VERSION_INIT, kClapId, kName, kVendor, "", "", "", kVersion, kDescription, kStereoFeatures},
    {CLAP_VERSION_INIT, kClapMonoId, kMonoName, kVendor, "", "", "", kVersion, kDescription, kMonoFeatures}};

class ClapPlugin {
 public:
  ClapPlugin(const clap_host_t* host, uint32_t channels) : host_(host), channels_(channels) {
    plugin_.desc = &kDescriptors[channels == 1 ? 1 : 0];
    plugin_.plugin_data = this;
    plugin_.init = [](const clap_plugin_t* p) { return self(p).init(); };
    plugin_.destroy = [](const clap_plugin_t* p) { delete &self(p); };
    plugin_.activate = [](const clap_plugin_t* p, double rate, uint32_t, uint32_t max_frames) {
      return self(p).activate(rate, max_frames);
    };
    plugin_.deactivate = [](const clap_plugin_t* p) { self(p).core_.deactivate(); };
    plugin_.start_processing = [](const clap_plugin_t*) { return true; };
    plugin_.stop_processing = [](const clap_plugin_t*) {};
    plugin_.reset = [](const clap_plugin_t* p) { self(p).core_.reset(); };
    plugin_.process = [](const clap_plugin_t* p, const clap_process_t* process) { return self(p).process(*process); };
    plugin_.get_extension = [](const clap_plugin_t*, const char* id) { return extension(id); };
    plugin_.on_main_thread = [](const clap_plugin_t* p) { self(p).on_main_thread(); };
  }
  const clap_plugin_t* clap() const noexcept { return &plugin_; }

 private:
  static ClapPlugin& self(const clap_plugin_t* p) { return *static_cast<ClapPlugin*>(p->plugin_data); }

  template <class Extension>
  const Extension* host_extension(const char* id) const {
    return host_->get_extension ? static_cast<const Extension*>(host_->get_extension(host_, id)) : nullptr;
  }

  // --- main thread ---

  bool init() {
    host_latency_ = host_extension<clap_host_latency_t>(CLAP_EXT_LATENCY);
    host_params_ = host_extension<clap_host_params_t>(CLAP_EXT_PARAMS);
    core_.on_news([this] {
      if (host_->request_callback) host_->request_callback(host_);
    });
    return true;
  }

  bool activate(double rate, uint32_t max_frames) {
    const uint32_t before = core_.latency_frames();
    if (!core_.activate(rate, max_frames, channels_)) return false;
    restart_asked_ = false;
    until_read_out_ = 0;
    read_out_frames_ = static_cast<uint32_t>(rate * kReadOutMs / 1000);
    if (core_.latency_frames() != before && host_latency_ && host_latency_->changed) host_latency_->changed(host_);
    return true;
  }

  void on_main_thread() {
    if (core_.restart_wanted() && !restart_asked_ && host_->request_restart) {
      restart_asked_ = true;
      host_->request_restart(host_);
    }
    if (host_params_ && host_params_->rescan) host_params_->rescan(host_, CLAP_PARAM_RESCAN_TEXT);
  }

  bool save(const clap_ostream_t* stream) const {
    const std::string text = core_.save();
    for (size_t at = 0; at < text.size();) {
      const int64_t written = stream->write(stream, text.data() + at, text.size() - at);
      if (written <= 0) return false;
      at += static_cast<size_t>(written);
    }
    return true;
  }

  bool load(const clap_istream_t* stream) {
    std::string text;
    char piece[4096];
    for (;;) {
      const int64_t got = stream->read(stream, piece, sizeof piece);
      if (got < 0) return false;
      if (got == 0) break;  // a short read is not yet the end
      text.append(piece, static_cast<size_t>(got));
      if (text.size() > kStateBytesMax) return false;
    }
    std::string why_not;
    if (!core_.load(text, true, why_not)) return false;
    if (host_params_ && host_params_->rescan)
      host_params_->rescan(host_, CLAP_PARAM_RESCAN_VALUES | CLAP_PARAM_RESCAN_TEXT);
    return true;
  }

  // --- audio thread ---

  void take_event(const clap_event_header_t* event) noexcept {
    if (!event || event->space_id != CLAP_CORE_EVENT_SPACE_ID || event->type != CLAP_EVENT_PARAM_VALUE) return;
    const auto* change = reinterpret_cast<const clap_event_param_value_t*>(event);
    if (change->param_id < kParameterCount) core_.set(static_cast<ParameterId>(change->param_id), change->value);
  }

  void send_read_outs(const clap_output_events_t* out) noexcept {
    if (!out || !out->try_push) return;
    for (size_t i = 0; i < kParameterCount; ++i) {
      const Parameter& p = parameters()[i];
      if (!p.read_out) continue;
      const double value = core_.get(p.id);
      if (value == told_[i]) continue;
      clap_event_param_value_t event{};
      event.header = {sizeof event, 0, CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_PARAM_VALUE, 0};
      event.param_id = static_cast<clap_id>(p.id);
      event.note_id = event.port_index = event.channel = event.key = -1;
      event.value = value;
      if (out->try_push(out, &event.header)) told_[i] = value;
    }
  }

  clap_process_status process(const clap_process_t& p) noexcept {
    const auto usable = [&](const clap_audio_buffer_t* buffers, uint32_t count) {
      return count > 0 && buffers && buffers[0].channel_count == channels_ &&
             (buffers[0].data32 || p.frames_count == 0);
    };
    const uint32_t events = p.in_events ? p.in_events->size(p.in_events) : 0;
    if (!usable(p.audio_inputs, p.audio_inputs_count) || !usable(p.audio_outputs, p.audio_outputs_count)) {
      for (uint32_t i = 0; i < events; ++i) take_event(p.in_events->get(p.in_events, i));
      return CLAP_PROCESS_ERROR;
    }
    float** in = p.audio_inputs[0].data32;
    float** out = p.audio_outputs[0].data32;
    Result result = Result::kOk;
    uint32_t at = 0, next = 0;
    do {  // from event to event, so that a change is heard where the host put it
      uint32_t end = p.frames_count;
      for (; next < events; ++next) {
        const clap_event_header_t* event = p.in_events->get(p.in_events, next);
        if (event && event->time > at && event->time < p.frames_count) {
          end = event->time;
          break;
        }
        take_event(event);
      }
      const float* from[2] = {};
      float* to[2] = {};
      for (uint32_t c = 0; c < channels_ && end > at; ++c) from[c] = in[c] + at, to[c] = out[c] + at;
      if (core_.process(from, to, end - at) != Result::kOk) result = Result::kFailed;
      at = end;
    } while (at < p.frames_count);
    p.audio_outputs[0].constant_mask = 0;
    if (until_read_out_ <= p.frames_count) {
      until_read_out_ = read_out_frames_;
      send_read_outs(p.out_events);
    } else {
      until_read_out_ -= p.frames_count;
    }
    return result == Result::kOk ? CLAP_PROCESS_CONTINUE : CLAP_PROCESS_ERROR;
  }

  // --- extensions ---

  static const void* extension(const char* id) {
    static const clap_plugin_audio_ports_t ports{
        [](const clap_plugin_t*, bool is_input) -> uint32_t { return is_input ? 2 : 1; },
        [](const clap_plugin_t* p, uint32_t index, bool is_input, clap_audio_port_info_t* info) {
          return self(p).port(index, is_input, info);
        }};
    static const clap_plugin_params_t params{
        [](const clap_plugin_t*) { return static_cast<uint32_t>(kParameterCount); },
        [](const clap_plugin_t*, uint32_t index, clap_param_info_t* info) { return parameter_info(index, info); },
        [](const clap_plugin_t* p, clap_id id, double* value) {
          if (id >= kParameterCount) return false;
          *value = self(p).core_.get(static_cast<ParameterId>(id));
          return true;
        },
        [](const clap_plugin_t* p, clap_id id, double value, char* display, uint32_t size) {
          if (id >= kParameterCount) return false;
          copy_text(display, size, self(p).core_.text(static_cast<ParameterId>(id), value));
          return true;
        },
        [](const clap_plugin_t*, clap_id id, const char* display, double* value) {
          const auto read = id < kParameterCount ? from_text(parameters()[id], display) : std::nullopt;
          if (read) *value = *read;
          return read.has_value();
        },
        [](const clap_plugin_t* p, const clap_input_events_t* in, const clap_output_events_t* out) {
          for (uint32_t i = 0; in && i < in->size(in); ++i) self(p).take_event(in->get(in, i));
          self(p).send_read_outs(out);
        }};
    static const clap_plugin_latency_t latency{[](const clap_plugin_t* p) { return self(p).core_.latency_frames(); }};
    static const clap_plugin_state_t state{
        [](const clap_plugin_t* p, const clap_ostream_t* stream) { return self(p).save(stream); },
        [](const clap_plugin_t* p, const clap_istream_t* stream) { return self(p).load(stream); }};
    static const clap_plugin_render_t render{[](const clap_plugin_t*) { return false; },
                                             [](const clap_plugin_t* p, clap_plugin_render_mode mode) {
                                               self(p).core_.set_offline(mode == CLAP_RENDER_OFFLINE);
                                               return true;
                                             }};
    if (!std::strcmp(id, CLAP_EXT_AUDIO_PORTS)) return &ports;
    if (!std::strcmp(id, CLAP_EXT_PARAMS)) return &params;
    if (!std::strcmp(id, CLAP_EXT_LATENCY)) return &latency;
    if (!std::strcmp(id, CLAP_EXT_STATE)) return &state;
    if (!std::strcmp(id, CLAP_EXT_RENDER)) return &render;
    return nullptr;
  }

  // The second input is a side chain, kept for a second source; nothing listens to it yet.
  bool port(uint32_t index, bool is_input, clap_audio_port_info_t* info) const {
    if (index >= (is_input ? 2u : 1u)) return false;
    const bool main = index == 0;
    *info = {};
    info->id = is_input ? index : 2;
    copy_text(info->name, sizeof info->name, main ? (is_input ? "Input" : "Output") : "Side chain (reserved)");
    info->flags = main ? CLAP_AUDIO_PORT_IS_MAIN : 0;
    info->channel_count = channels_;
    info->port_type = channels_ == 1 ? CLAP_PORT_MONO : CLAP_PORT_STEREO;
    info->in_place_pair = !main ? CLAP_INVALID_ID : is_input ? 2 : 0;
    return true;
  }

  static bool parameter_info(uint32_t index, clap_param_info_t* info) {
    if (index >= kParameterCount) return false;
    const Parameter& p = parameters()[index];
    *info = {};
    info->id = static_cast<clap_id>(p.id);
    if (p.stepped()) info->flags |= CLAP_PARAM_IS_STEPPED;
    if (p.read_out) info->flags |= CLAP_PARAM_IS_READONLY;
    if (p.automatable()) info->flags |= CLAP_PARAM_IS_AUTOMATABLE;
    if (p.id == ParameterId::kBypass) info->flags |= CLAP_PARAM_IS_BYPASS;
    copy_text(info->name, sizeof info->name, p.name);
    info->min_value = p.low;
    info->max_value = p.high;
    info->default_value = p.initial;
    return true;
  }

  const clap_host_t* host_;
  const clap_host_latency_t* host_latency_ = nullptr;
  const clap_host_params_t* host_params_ = nullptr;
  const uint32_t channels_;
  clap_plugin_t plugin_{};
  bool restart_asked_ = false;
  uint32_t until_read_out_ = 0, read_out_frames_ = 4800;  // audio thread
  double told_[kParameterCount]{};                        // audio thread: read-outs as the host knows them
  PluginCore core_;
};

const clap_plugin_factory_t kFactory{
    [](const clap_plugin_factory_t*) -> uint32_t { return 2; },
    [](const clap_plugin_factory_t*, uint32_t index) -> const clap_plugin_descriptor_t* {
      return index < 2 ? &kDescriptors[index] : nullptr;
    },
    [](const clap_plugin_factory_t*, const clap_host_t* host, const char* id) -> const clap_plugin_t* {
      if (!host || !id || !clap_version_is_compatible(host->clap_version)) return nullptr;
      for (uint32_t i = 0; i < 2; ++i) {
        if (std::strcmp(id, kDescriptors[i].id) != 0) continue;
        try {
          return (new ClapPlugin(host, i == 0 ? 2 : 1))->clap();
        } catch (const std::exception&) {
          return nullptr;  // no memory
        }
      }
      return nullptr;
    }};

}  // namespace
}  // namespace rtplugin

extern "C" CLAP_EXPORT const clap_plugin_entry_t clap_entry = {
    CLAP_VERSION_INIT, [](const char*) { return true; }, []() {},
    [](const char* id) -> const void* {
      return std::strcmp(id, CLAP_PLUGIN_FACTORY_ID) == 0 ? &rtplugin::kFactory : nullptr;
    }};
