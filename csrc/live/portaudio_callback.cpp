#include "live/portaudio_callback.h"

#include <algorithm>

#include "live/live_path.h"
#include "rtbridge/wake.h"

namespace rtlive {
namespace {
constexpr int kContinue = 0;
}

int duplex_callback(const void* in, void* out, unsigned long frames, const PaTimeInfo* time, unsigned long flags,
                    void* live_path) {
  auto& path = *static_cast<LivePath*>(live_path);
  const uint64_t began = rtbridge::monotonic_ns();
  const auto count = static_cast<uint32_t>(frames);
  if (in && out)
    path.duplex(static_cast<const float*>(in), static_cast<float*>(out), count);
  else if (out)
    std::fill_n(static_cast<float*>(out), size_t{count} * path.config().output_channels, 0.0f);
  path.note_call(count, flags, time ? time->input_adc_s : 0.0, time ? time->output_dac_s : 0.0, began);
  return kContinue;
}

int capture_callback(const void* in, void*, unsigned long frames, const PaTimeInfo*, unsigned long flags,
                     void* live_path) {
  auto& path = *static_cast<LivePath*>(live_path);
  if (in) path.capture(static_cast<const float*>(in), static_cast<uint32_t>(frames));
  path.note_capture(static_cast<uint32_t>(frames), flags);
  return kContinue;
}

int playback_callback(const void*, void* out, unsigned long frames, const PaTimeInfo*, unsigned long flags,
                      void* live_path) {
  auto& path = *static_cast<LivePath*>(live_path);
  const uint64_t began = rtbridge::monotonic_ns();
  path.playback(static_cast<float*>(out), static_cast<uint32_t>(frames));
  path.note_call(static_cast<uint32_t>(frames), flags & ~3ul, 0.0, 0.0, began);
  return kContinue;
}

}  // namespace rtlive
