// Three functions of the shape that PortAudio calls (PaStreamCallback of its version 19), with a LivePath as user data.
// Nothing of PortAudio is included or linked: who opens the stream passes their addresses.
#pragma once

namespace rtlive {

struct PaTimeInfo {  // PaStreamCallbackTimeInfo
  double input_adc_s, current_s, output_dac_s;
};
using PaCallback = int(const void* in, void* out, unsigned long frames, const PaTimeInfo* time, unsigned long flags,
                       void* live_path);

PaCallback duplex_callback, capture_callback, playback_callback;  // [driver's thread, wait-free]

}  // namespace rtlive
