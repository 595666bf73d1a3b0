// The plugin as LV2: a thin wrapper around PluginCore on the format's own headers. Two plugins, stereo and mono.
// The host keeps the values of the control ports; the state holds the instruments.
#include <cmath>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "core/plugin_core.h"
#include "formats/identity.h"
#include "formats/lv2_ports.h"
#include "lv2/atom.h"
#include "lv2/buf-size.h"
#include "lv2/lv2.h"
#include "lv2/options.h"
#include "lv2/state.h"
#include "lv2/urid.h"

namespace rtplugin {
namespace {

constexpr uint32_t kUnknownBlockFrames = 4096;  // for hosts that don't tell
constexpr uint32_t kLeastNominalFrames = 16;
constexpr const char* kNominalBlockLength = "http://lv2plug.in/ns/ext/buf-size#nominalBlockLength";

struct Urids {
  LV2_URID integer = 0, text = 0, state = 0, nominal = 0, longest = 0;

  explicit Urids(LV2_URID_Map* map) {
    if (!map) return;
    integer = map->map(map->handle, LV2_ATOM__Int);
    text = map->map(map->handle, LV2_ATOM__String);
    state = map->map(map->handle, kLv2StateUri);
    nominal = map->map(map->handle, kNominalBlockLength);
    longest = map->map(map->handle, LV2_BUF_SIZE__maxBlockLength);
  }
};

class Lv2Plugin {
 public:
  Lv2Plugin(double rate, uint32_t channels, LV2_URID_Map* map, const LV2_Options_Option* options)
      : rate_hz_(rate), ports_{channels}, connected_(ports_.count(), nullptr), urids_(map) {
    read_options(options);
  }

  // --- main thread ---

  // The nominal length where there is one: Ardour's longest is 8,192 whatever it runs at, which would be latency. A
  // longer block is cut, and costs a miss at worst.
  uint32_t read_options(const LV2_Options_Option* options) {
    for (; options && (options->key != 0 || options->value); ++options) {
      if (options->type != urids_.integer || !options->value || options->size != sizeof(int32_t) || urids_.integer == 0)
        continue;
      int32_t frames = 0;
      std::memcpy(&frames, options->value, sizeof frames);
      if (frames < 1) continue;
      if (options->key == urids_.nominal) nominal_frames_ = static_cast<uint32_t>(frames);
      if (options->key == urids_.longest) longest_frames_ = static_cast<uint32_t>(frames);
    }
    return LV2_OPTIONS_SUCCESS;
  }

  void connect(uint32_t port, void* data) noexcept {
    if (port < connected_.size()) connected_[port] = static_cast<float*>(data);
  }

  void activate() {
    take_controls();
    const uint32_t frames = nominal_frames_ >= kLeastNominalFrames ? nominal_frames_ : longest_frames_;
    if (core_.activate(rate_hz_, frames, ports_.channels)) write_latency();
  }
  void deactivate() { core_.deactivate(); }

  LV2_State_Status save(LV2_State_Store_Function store, LV2_State_Handle handle) const {
    if (urids_.state == 0) return LV2_STATE_ERR_NO_FEATURE;
    const std::string text = core_.save();
    return store(handle, urids_.state, text.c_str(), text.size() + 1, urids_.text,
                 LV2_STATE_IS_POD | LV2_STATE_IS_PORTABLE);
  }

  LV2_State_Status restore(LV2_State_Retrieve_Function retrieve, LV2_State_Handle handle) {
    if (urids_.state == 0) return LV2_STATE_ERR_NO_FEATURE;
    size_t bytes = 0;
    uint32_t type = 0, flags = 0;
    const auto* data = static_cast<const char*>(retrieve(handle, urids_.state, &bytes, &type, &flags));
    if (!data) return LV2_STATE_ERR_NO_PROPERTY;
    if (type != urids_.text) return LV2_STATE_ERR_BAD_TYPE;
    std::string why_not;
    const bool loaded = core_.load({data, strnlen(data, bytes)}, false, why_not);
    return loaded ? LV2_STATE_SUCCESS : LV2_STATE_ERR_UNKNOWN;
  }

  // --- audio thread ---

  void run(uint32_t frames) noexcept {
    take_controls();
    const float* in[2] = {};
    float* out[2] = {};
    bool whole = true;
    for (uint32_t c = 0; c < ports_.channels; ++c) {
      in[c] = connected_[ports_.audio_in(c)];
      out[c] = connected_[ports_.audio_out(c)];
      whole = whole && in[c] && out[c];
    }
    core_.process(in, out, whole ? frames : 0);
    write_latency();
    for (uint32_t i = 0; i < kParameterCount; ++i)
      if (parameters()[i].read_out) write(ports_.control(i), core_.get(parameters()[i].id));
  }

 private:
  void take_controls() noexcept {
    for (uint32_t i = 0; i < kParameterCount; ++i) {
      const Parameter& p = parameters()[i];
      const float* port = connected_[ports_.control(i)];
      if (p.read_out || !port) continue;
      // The format has "enabled" where the others have "bypass".
      const double value = static_cast<double>(*port);
      core_.set(p.id, p.id == ParameterId::kBypass ? (value > 0.0 ? 0.0 : 1.0) : value);
    }
    if (const float* freewheel = connected_[ports_.freewheel()]) core_.set_offline(*freewheel > 0.5f);
  }
  void write(uint32_t port, double value) noexcept {
    if (connected_[port]) *connected_[port] = static_cast<float>(value);
  }
  void write_latency() noexcept { write(ports_.latency(), core_.latency_frames()); }

  const double rate_hz_;
  const Lv2Ports ports_;
  std::vector<float*> connected_;
  const Urids urids_;
  uint32_t nominal_frames_ = 0, longest_frames_ = kUnknownBlockFrames;
  PluginCore core_;
};

Lv2Plugin& self(LV2_Handle handle) { return *static_cast<Lv2Plugin*>(handle); }

LV2_Handle instantiate(const LV2_Descriptor* descriptor, double rate, const char*, const LV2_Feature* const* features) {
  LV2_URID_Map* map = nullptr;
  const LV2_Options_Option* options = nullptr;
  for (; features && *features; ++features) {
    if (!std::strcmp((*features)->URI, LV2_URID__map)) map = static_cast<LV2_URID_Map*>((*features)->data);
    if (!std::strcmp((*features)->URI, LV2_OPTIONS__options))
      options = static_cast<const LV2_Options_Option*>((*features)->data);
  }
  try {
    return new Lv2Plugin(rate, std::strcmp(descriptor->URI, kLv2MonoUri) == 0 ? 1 : 2, map, options);
  } catch (const std::exception&) {
    return nullptr;  // no memory
  }
}

const void* extension_data(const char* uri) {
  static const LV2_State_Interface state{
      [](LV2_Handle h, LV2_State_Store_Function store, LV2_State_Handle handle, uint32_t, const LV2_Feature* const*) {
        return self(h).save(store, handle);
      },
      [](LV2_Handle h, LV2_State_Retrieve_Function retrieve, LV2_State_Handle handle, uint32_t,
         const LV2_Feature* const*) { return self(h).restore(retrieve, handle); }};
  static const LV2_Options_Interface options{
      [](LV2_Handle, LV2_Options_Option*) -> uint32_t { return LV2_OPTIONS_ERR_UNKNOWN; },
      [](LV2_Handle h, const LV2_Options_Option* given) -> uint32_t { return self(h).read_options(given); }};
  if (!std::strcmp(uri, LV2_STATE__interface)) return &state;
  if (!std::strcmp(uri, LV2_OPTIONS__interface)) return &options;
  return nullptr;
}

#define RTPLUGIN_LV2_DESCRIPTOR(uri)                                             \
  {uri,                                                                          \
   instantiate,                                                                  \
   [](LV2_Handle h, uint32_t port, void* data) { self(h).connect(port, data); }, \
   [](LV2_Handle h) { self(h).activate(); },                                     \
   [](LV2_Handle h, uint32_t frames) { self(h).run(frames); },                   \
   [](LV2_Handle h) { self(h).deactivate(); },                                   \
   [](LV2_Handle h) { delete &self(h); },                                        \
   extension_data}
const LV2_Descriptor kDescriptors[] = {RTPLUGIN_LV2_DESCRIPTOR(kLv2Uri), RTPLUGIN_LV2_DESCRIPTOR(kLv2MonoUri)};
#undef RTPLUGIN_LV2_DESCRIPTOR

}  // namespace
}  // namespace rtplugin

LV2_SYMBOL_EXPORT const LV2_Descriptor* lv2_descriptor(uint32_t index) {
  return index < 2 ? &rtplugin::kDescriptors[index] : nullptr;
}
