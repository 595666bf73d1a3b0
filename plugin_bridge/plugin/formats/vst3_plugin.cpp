// The plugin as VST3: a thin wrapper around PluginCore. Component, processor and controller are one object; stereo and
// mono are arrangements of its main bus.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "core/plugin_core.h"
#include "formats/identity.h"
#include "formats/vst3_interfaces.h"

namespace rtplugin::vst3 {
namespace {

constexpr v3_tuid kClassId = V3_ID(0x72747365, 0x72766572, 0x62726964, 0x67650001);
constexpr int32_t kReadOutMs = 100;  // read-outs are sent no more often
constexpr v3_speaker_arrangement kMono = V3_SPEAKER_M, kStereo = V3_SPEAKER_L | V3_SPEAKER_R;

// Text of parameters and names is ASCII, but for instruments: those are decoded from UTF-8 as far as UTF-16 needs no
// pairs.
void copy_text(int16_t* target, size_t capacity, const std::string& text) {
  size_t at = 0, used = 0;
  while (at < text.size() && used + 1 < capacity) {
    const auto lead = static_cast<unsigned char>(text[at++]);
    uint32_t code = lead;
    int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    if (more > 0) code = lead & (0x3f >> more);
    for (; more > 0 && at < text.size(); --more) code = code << 6 | (static_cast<unsigned char>(text[at++]) & 0x3f);
    target[used++] = static_cast<int16_t>(code < 0x10000 ? code : '?');
  }
  target[used] = 0;
}

template <size_t N>
void copy_text(char (&target)[N], const char* text) {
  std::snprintf(target, N, "%s", text);
}

const Parameter* known(v3_param_id id) { return id < kParameterCount ? &parameters()[id] : nullptr; }

class Vst3Plugin final : public Component, public Processor, public ContextRequirements {
 public:
  Vst3Plugin() : controller_(*this) {}

  // --- lifetime ---

  v3_result V3_API query(const v3_tuid iid, void** object) override {
    if (!object) return kInvalidArgument;
    *object = nullptr;
    if (v3_tuid_match(iid, v3_funknown_iid) || v3_tuid_match(iid, v3_plugin_base_iid) ||
        v3_tuid_match(iid, v3_component_iid))
      *object = static_cast<Component*>(this);
    else if (v3_tuid_match(iid, v3_audio_processor_iid))
      *object = static_cast<Processor*>(this);
    else if (v3_tuid_match(iid, v3_process_context_requirements_iid))
      *object = static_cast<ContextRequirements*>(this);
    else if (v3_tuid_match(iid, v3_edit_controller_iid))
      *object = static_cast<Controller*>(&controller_);
    if (!*object) return kNoInterface;
    ref();
    return kOk;
  }
  uint32_t V3_API ref() override { return ++references_; }
  uint32_t V3_API unref() override {
    const uint32_t left = --references_;
    if (left == 0) delete this;
    return left;
  }
  v3_result V3_API initialize(Unknown*) override { return kOk; }
  v3_result V3_API terminate() override {
    core_.deactivate();
    controller_.set_handler(nullptr);
    return kOk;
  }

  // --- component, main thread ---

  v3_result V3_API controller_class(v3_tuid) override { return kFalse; }  // this object is its own
  v3_result V3_API set_io_mode(int32_t) override { return kNotImplemented; }
  int32_t V3_API bus_count(int32_t media, int32_t direction) override {
    return media != V3_AUDIO ? 0 : direction == V3_INPUT ? 2 : 1;
  }
  v3_result V3_API bus_info(int32_t media, int32_t direction, int32_t index, v3_bus_info* info) override {
    if (!info || index < 0 || index >= bus_count(media, direction)) return kInvalidArgument;
    const bool main = index == 0;
    *info = {};
    info->media_type = V3_AUDIO;
    info->direction = direction;
    info->channel_count = static_cast<int32_t>(main ? channels_ : side_channels_);
    // The side chain is kept for a second source; nothing listens to it yet.
    copy_text(info->bus_name, 128, !main ? "Side chain (reserved)" : direction == V3_INPUT ? "Input" : "Output");
    info->bus_type = main ? V3_MAIN : V3_AUX;
    info->flags = main ? V3_DEFAULT_ACTIVE : 0;
    return kOk;
  }
  v3_result V3_API routing_info(v3_routing_info*, v3_routing_info*) override { return kNotImplemented; }
  v3_result V3_API activate_bus(int32_t media, int32_t direction, int32_t index, v3_bool) override {
    return index >= 0 && index < bus_count(media, direction) ? kOk : kInvalidArgument;
  }
  v3_result V3_API set_active(v3_bool on) override {
    if (!on) {
      core_.deactivate();
      return kOk;
    }
    if (core_.active()) return kOk;
    until_read_out_ = 0;
    read_out_frames_ = static_cast<int32_t>(setup_.sample_rate * kReadOutMs / 1000.0);
    restart_told_ = false;
    const auto block = static_cast<uint32_t>(std::max(setup_.max_block_size, 1));
    if (!core_.activate(setup_.sample_rate, block, channels_)) return kInvalidArgument;
    if (Handler* handler = controller_.handler();
        handler && latency_told_ != 0 && core_.latency_frames() != latency_told_)
      handler->restart(V3_RESTART_LATENCY_CHANGED);
    return kOk;
  }
  v3_result V3_API set_state(Stream* stream) override {
    std::string text;
    char piece[4096];
    for (int32_t got = 1; stream && got > 0;) {  // a short read is not yet the end
      got = 0;
      if (stream->read(piece, sizeof piece, &got) != kOk && got <= 0) break;
      if (got < 0 || text.size() > kStateBytesMax) return kFalse;
      text.append(piece, static_cast<size_t>(got));
    }
    std::string why_not;
    if (!core_.load(text, true, why_not)) return kFalse;
    tell_restart();
    return kOk;
  }
  v3_result V3_API get_state(Stream* stream) override {
    if (!stream) return kInvalidArgument;
    std::string text = core_.save();
    for (size_t at = 0; at < text.size();) {
      int32_t written = 0;
      stream->write(text.data() + at, static_cast<int32_t>(text.size() - at), &written);
      if (written <= 0) return kFalse;
      at += static_cast<size_t>(written);
    }
    return kOk;
  }

  // --- processor ---

  v3_result V3_API set_bus_arrangements(v3_speaker_arrangement* in, int32_t ins, v3_speaker_arrangement* out,
                                        int32_t outs) override {
    const auto channels_of = [](v3_speaker_arrangement a) { return a == kMono ? 1u : a == kStereo ? 2u : 0u; };
    if (!in || !out || ins < 1 || ins > 2 || outs != 1 || core_.active()) return kFalse;
    const uint32_t wanted = channels_of(in[0]);
    if (wanted == 0 || in[0] != out[0]) return kFalse;
    if (ins == 2 && in[1] != 0 && channels_of(in[1]) == 0) return kFalse;
    channels_ = wanted;
    if (ins == 2 && in[1] != 0) side_channels_ = channels_of(in[1]);
    return kOk;
  }
  v3_result V3_API bus_arrangement(int32_t direction, int32_t index, v3_speaker_arrangement* found) override {
    if (!found || index < 0 || index >= bus_count(V3_AUDIO, direction)) return kInvalidArgument;
    *found = (index == 0 ? channels_ : side_channels_) == 1 ? kMono : kStereo;
    return kOk;
  }
  v3_result V3_API can_process_sample_size(int32_t size) override { return size == V3_SAMPLE_32 ? kOk : kFalse; }
  uint32_t V3_API latency() override { return latency_told_ = core_.latency_frames(); }
  v3_result V3_API setup(v3_process_setup* setup) override {
    if (!setup || setup->symbolic_sample_size != V3_SAMPLE_32) return kFalse;
    setup_ = *setup;
    core_.set_offline(setup->process_mode == V3_OFFLINE);
    // Some hosts ask for the latency between this and the activation.
    if (!core_.active()) core_.prepare(setup->sample_rate, static_cast<uint32_t>(std::max(setup->max_block_size, 1)));
    return kOk;
  }
  v3_result V3_API set_processing(v3_bool on) override {
    if (on) core_.reset();
    return kOk;
  }
  uint32_t V3_API tail() override { return static_cast<uint32_t>(setup_.sample_rate); }  // what still sounds
  uint32_t V3_API context_requirements() override { return 0; }

  // [audio thread]
  v3_result V3_API process(v3_process_data* data) override {
    if (!data) return kInvalidArgument;
    core_.set_offline(data->process_mode == V3_OFFLINE);
    auto* changes = reinterpret_cast<Changes*>(data->input_params);
    const auto buffers = [&](v3_audio_bus_buffers* buses, int32_t count) -> float** {
      if (count < 1 || !buses || buses[0].num_channels != static_cast<int32_t>(channels_)) return nullptr;
      float** channels = buses[0].channel_buffers_32;
      for (uint32_t c = 0; channels && c < channels_; ++c)
        if (!channels[c]) return nullptr;
      return channels;
    };
    float** in = buffers(data->inputs, data->num_input_buses);
    float** out = buffers(data->outputs, data->num_output_buses);
    const int32_t frames = in && out ? std::max(data->nframes, 0) : 0;
    Result result = Result::kOk;
    int32_t at = 0;
    do {  // from change to change, so that it is heard where the host put it
      const int32_t end = take_changes(changes, at, frames);
      const float* from[2] = {};
      float* to[2] = {};
      for (uint32_t c = 0; c < channels_ && end > at; ++c) from[c] = in[c] + at, to[c] = out[c] + at;
      if (core_.process(from, to, static_cast<uint32_t>(end - at)) != Result::kOk) result = Result::kFailed;
      at = end;
    } while (at < frames);
    if (frames > 0) data->outputs[0].channel_silence_bitset = 0;
    if (out && !in)
      for (uint32_t c = 0; c < channels_; ++c) std::fill_n(out[c], std::max(data->nframes, 0), 0.0f);
    if ((until_read_out_ -= std::max(data->nframes, 0)) <= 0) {
      until_read_out_ = read_out_frames_;
      send_read_outs(reinterpret_cast<Changes*>(data->output_params));
    }
    return result == Result::kOk ? kOk : kInternalError;
  }

 private:
  // [audio thread] Obeys the points up to frame `at`; gives the frame of the next one.
  int32_t take_changes(Changes* changes, int32_t at, int32_t frames) noexcept {
    int32_t next = frames;
    const int32_t queues = changes ? changes->count() : 0;
    for (int32_t q = 0; q < queues; ++q) {
      ValueQueue* queue = changes->queue(q);
      const Parameter* p = queue ? known(queue->id()) : nullptr;
      if (!p) continue;
      const int32_t points = queue->count();
      for (int32_t i = 0; i < points; ++i) {
        int32_t frame = 0;
        double value = 0.0;
        if (queue->point(i, &frame, &value) != kOk) continue;
        if (frame <= at || frame >= frames)
          core_.set(p->id, from_normalized(*p, value));
        else
          next = std::min(next, frame);
        if (frame > at) break;
      }
    }
    return next;
  }

  void send_read_outs(Changes* changes) noexcept {
    for (size_t i = 0; changes && i < kParameterCount; ++i) {
      const Parameter& p = parameters()[i];
      if (!p.read_out) continue;
      const double value = core_.get(p.id);
      int32_t index = 0;
      if (value == told_[i]) continue;
      ValueQueue* queue = changes->add(static_cast<v3_param_id>(p.id), &index);
      if (queue && queue->add(0, rtplugin::to_normalized(p, value), &index) == kOk) told_[i] = value;
    }
  }

  // [main thread] Hosts activate anew when buses or latency are said to have changed.
  void tell_restart() {
    if (!core_.restart_wanted() || restart_told_ || !controller_.handler()) return;
    restart_told_ = true;
    controller_.handler()->restart(V3_RESTART_LATENCY_CHANGED | V3_RESTART_IO_CHANGED);
  }

  class PluginController final : public Controller {
   public:
    explicit PluginController(Vst3Plugin& plugin) : plugin_(plugin) {}
    Handler* handler() const noexcept { return handler_; }

    v3_result V3_API query(const v3_tuid iid, void** object) override { return plugin_.query(iid, object); }
    uint32_t V3_API ref() override { return plugin_.ref(); }
    uint32_t V3_API unref() override { return plugin_.unref(); }
    v3_result V3_API initialize(Unknown*) override { return kOk; }
    v3_result V3_API terminate() override { return kOk; }
    v3_result V3_API set_component_state(Stream*) override { return kOk; }  // the component has it
    v3_result V3_API set_state(Stream*) override { return kOk; }
    v3_result V3_API get_state(Stream*) override { return kOk; }
    int32_t V3_API parameter_count() override { return kParameterCount; }
    v3_result V3_API parameter_info(int32_t index, v3_param_info* info) override {
      const Parameter* p = index >= 0 ? known(static_cast<v3_param_id>(index)) : nullptr;
      if (!p || !info) return kInvalidArgument;
      *info = {};
      info->param_id = static_cast<v3_param_id>(p->id);
      copy_text(info->title, 128, p->name);
      copy_text(info->short_title, 128, p->name);
      copy_text(info->units, 128, p->unit);
      info->step_count = static_cast<int32_t>(p->steps());
      info->default_normalised_value = rtplugin::to_normalized(*p, p->initial);
      if (p->read_out) info->flags |= V3_PARAM_READ_ONLY;
      if (p->automatable()) info->flags |= V3_PARAM_CAN_AUTOMATE;
      if (p->form == Form::kChoice) info->flags |= V3_PARAM_IS_LIST;
      if (p->id == ParameterId::kBypass) info->flags |= V3_PARAM_IS_BYPASS;
      return kOk;
    }
    v3_result V3_API text_of(v3_param_id id, double normalized, int16_t* text) override {
      const Parameter* p = known(id);
      if (!p || !text) return kInvalidArgument;
      std::string shown = plugin_.core_.text(p->id, from_normalized(*p, normalized));
      const std::string unit = std::string(" ") + p->unit;  // hosts add it themselves
      if (p->unit[0] && shown.size() > unit.size() && shown.substr(shown.size() - unit.size()) == unit)
        shown.resize(shown.size() - unit.size());
      copy_text(text, 128, shown);
      return kOk;
    }
    v3_result V3_API value_of(v3_param_id id, int16_t* text, double* normalized) override {
      const Parameter* p = known(id);
      if (!p || !text || !normalized) return kInvalidArgument;
      std::string ascii;
      for (int i = 0; i < 128 && text[i]; ++i) ascii += text[i] > 0 && text[i] < 128 ? static_cast<char>(text[i]) : '?';
      const auto value = from_text(*p, ascii);
      if (!value) return kFalse;
      *normalized = rtplugin::to_normalized(*p, *value);
      return kOk;
    }
    double V3_API to_plain(v3_param_id id, double normalized) override {
      const Parameter* p = known(id);
      return p ? from_normalized(*p, normalized) : normalized;
    }
    double V3_API to_normalized(v3_param_id id, double plain) override {
      const Parameter* p = known(id);
      return p ? rtplugin::to_normalized(*p, plain) : plain;
    }
    double V3_API get(v3_param_id id) override {
      const Parameter* p = known(id);
      return p ? rtplugin::to_normalized(*p, plugin_.core_.get(p->id)) : 0.0;
    }
    v3_result V3_API set(v3_param_id id, double normalized) override {
      const Parameter* p = known(id);
      if (!p) return kInvalidArgument;
      plugin_.core_.set(p->id, from_normalized(*p, normalized));
      if (p->id == ParameterId::kInstrument || p->id == ParameterId::kMargin) {
        plugin_.core_.ask_for_restart();
        plugin_.tell_restart();
      }
      return kOk;
    }
    v3_result V3_API set_handler(Handler* handler) override {
      if (handler) handler->ref();
      if (handler_) handler_->unref();
      handler_ = handler;
      return kOk;
    }
    void* V3_API create_view(const char*) override { return nullptr; }  // the host's own

   private:
    Vst3Plugin& plugin_;
    Handler* handler_ = nullptr;
  };

  ~Vst3Plugin() { controller_.set_handler(nullptr); }

  std::atomic<uint32_t> references_{1};
  uint32_t channels_ = 2, side_channels_ = 2;
  v3_process_setup setup_{V3_REALTIME, V3_SAMPLE_32, 512, 48000.0};
  bool restart_told_ = false;                            // main thread
  uint32_t latency_told_ = 0;                            // main thread
  int32_t until_read_out_ = 0, read_out_frames_ = 4800;  // audio thread
  double told_[kParameterCount]{};                       // audio thread: read-outs as the host knows them
  PluginCore core_;
  PluginController controller_;
};

class PluginFactory final : public Factory {
 public:
  v3_result V3_API query(const v3_tuid iid, void** object) override {
    if (!object) return kInvalidArgument;
    const bool fits = v3_tuid_match(iid, v3_funknown_iid) || v3_tuid_match(iid, v3_plugin_factory_iid) ||
                      v3_tuid_match(iid, v3_plugin_factory_2_iid) || v3_tuid_match(iid, v3_plugin_factory_3_iid);
    *object = fits ? static_cast<Factory*>(this) : nullptr;
    return fits ? kOk : kNoInterface;
  }
  uint32_t V3_API ref() override { return 1; }  // lives as long as the module
  uint32_t V3_API unref() override { return 1; }
  v3_result V3_API info(v3_factory_info* info) override {
    *info = {};
    copy_text(info->vendor, kVendor);
    info->flags = 0x10;  // UTF-16
    return kOk;
  }
  int32_t V3_API count() override { return 1; }
  v3_result V3_API class_info(int32_t index, v3_class_info* info) override {
    if (index != 0 || !info) return kInvalidArgument;
    *info = {};
    fill(*info);
    copy_text(info->name, kName);
    return kOk;
  }
  v3_result V3_API class_info_2(int32_t index, v3_class_info_2* info) override {
    if (index != 0 || !info) return kInvalidArgument;
    *info = {};
    fill(*info);
    copy_text(info->name, kName);
    copy_text(info->sub_categories, "Fx");
    copy_text(info->vendor, kVendor);
    copy_text(info->version, kVersion);
    copy_text(info->sdk_version, "VST 3.7");
    return kOk;
  }
  v3_result V3_API class_info_utf16(int32_t index, v3_class_info_3* info) override {
    if (index != 0 || !info) return kInvalidArgument;
    *info = {};
    fill(*info);
    copy_text(info->sub_categories, "Fx");
    rtplugin::vst3::copy_text(info->name, 64, kName);
    rtplugin::vst3::copy_text(info->vendor, 64, kVendor);
    rtplugin::vst3::copy_text(info->version, 64, kVersion);
    rtplugin::vst3::copy_text(info->sdk_version, 64, "VST 3.7");
    return kOk;
  }
  v3_result V3_API create(const v3_tuid class_id, const v3_tuid iid, void** object) override {
    if (!object) return kInvalidArgument;
    *object = nullptr;
    if (!class_id || !iid || !v3_tuid_match(class_id, kClassId)) return kNoInterface;
    Vst3Plugin* plugin = nullptr;
    try {
      plugin = new Vst3Plugin;
    } catch (const std::exception&) {
      return kNoMemory;
    }
    const v3_result result = plugin->query(iid, object);
    plugin->unref();
    return result;
  }
  v3_result V3_API set_host_context(Unknown*) override { return kOk; }

 private:
  template <class Info>
  static void fill(Info& info) {
    std::memcpy(info.class_id, kClassId, sizeof kClassId);
    info.cardinality = 0x7fffffff;  // many
    copy_text(info.category, "Audio Module Class");
  }
};

}  // namespace
}  // namespace rtplugin::vst3

#if defined(_WIN32)
#define RTPLUGIN_EXPORT extern "C" __declspec(dllexport)
RTPLUGIN_EXPORT bool InitDll() { return true; }
RTPLUGIN_EXPORT bool ExitDll() { return true; }
#else
#define RTPLUGIN_EXPORT extern "C" __attribute__((visibility("default")))
#if defined(__APPLE__)
RTPLUGIN_EXPORT bool bundleEntry(void*) { return true; }
RTPLUGIN_EXPORT bool bundleExit() { return true; }
#else
RTPLUGIN_EXPORT bool ModuleEntry(void*) { return true; }
RTPLUGIN_EXPORT bool ModuleExit() { return true; }
#endif
#endif

RTPLUGIN_EXPORT const void* GetPluginFactory();
RTPLUGIN_EXPORT const void* GetPluginFactory() {
  static rtplugin::vst3::PluginFactory factory;
  return static_cast<rtplugin::vst3::Factory*>(&factory);
}
