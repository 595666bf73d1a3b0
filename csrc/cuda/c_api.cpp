#include "cuda/c_api.h"

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "cuda/decoder.h"
#if defined(RTCUDA_EMULATED)
#include "cuda/emulation.h"
#endif

struct rtcuda_decoder {
  std::shared_ptr<rtcuda::CudaDecoder> decoder;
};
struct rtcuda_slot {
  rtcuda::CudaSlot slot;
};

namespace {

thread_local std::string last_error;

template <class Call>
auto guarded(const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::exception& error) {
    last_error = error.what();
    return {};
  }
}

}  // namespace

const char* rtcuda_error(void) { return last_error.c_str(); }
int rtcuda_device_count(void) { return rtcuda::device_count(); }

rtcuda_decoder* rtcuda_open(const int* config, int count, const char* const* names, const float* const* tensors,
                            const int* dimensions, const int64_t* shapes, const char* precision, const int* options) {
  return guarded([&] {
    rtengine::DecoderConfig c;
    c.blocks = config[0];
    c.layers = config[1];
    c.residual_channels = config[2];
    c.skip_channels = config[3];
    c.latent_channels = config[4];
    c.hop_samples = config[5];
    c.prediction_order = config[6];
    rtengine::TensorViews views;
    for (int i = 0; i < count; ++i) {
      views[names[i]] = {{shapes, shapes + dimensions[i]}, tensors[i]};
      shapes += dimensions[i];
    }
    rtcuda::DecoderOptions o;
    o.precision = precision;
    o.device = options[0];
    o.team_blocks = options[1];
    if (options[2] > 0) o.most_warps = options[2];
    o.clusters = options[3] != 0;
    auto opened = std::make_unique<rtcuda_decoder>();
    opened->decoder = std::make_shared<rtcuda::CudaDecoder>(c, views, o);
    return opened.release();
  });
}

void rtcuda_close(rtcuda_decoder* decoder) { delete decoder; }

void rtcuda_describe(const rtcuda_decoder* decoder, int64_t* out, char* name, int name_bytes) {
  const rtcuda::CudaDecoder& d = *decoder->decoder;
  const rtcuda::Shape& s = d.shape();
  const int64_t values[10] = {s.team_blocks,        s.warps,     s.channels,        d.most_teams(),   d.clustered(),
                              d.resident_records(), s.records(), d.most_together(), d.weight_bytes(), d.slot_bytes()};
  for (int i = 0; i < 10; ++i) out[i] = values[i];
  std::snprintf(name, static_cast<std::size_t>(name_bytes), "%s", d.device_name().c_str());
}

int rtcuda_logits(rtcuda_decoder* decoder, const float* latents, const uint8_t* codes, int64_t samples, float* out) {
  return guarded([&] {
    decoder->decoder->logits(latents, codes, samples, out);
    return 1;
  });
}

rtcuda_slot* rtcuda_slot_open(rtcuda_decoder* decoder, uint64_t seed, float temperature) {
  return guarded([&] {
    auto opened = std::unique_ptr<rtcuda_slot>(new rtcuda_slot{{decoder->decoder, seed}});
    opened->slot.set_temperature(temperature);
    return opened.release();
  });
}
void rtcuda_slot_reset(rtcuda_slot* slot, uint64_t seed) { slot->slot.reset(seed); }
void rtcuda_slot_temperature(rtcuda_slot* slot, float temperature) { slot->slot.set_temperature(temperature); }
void rtcuda_slot_close(rtcuda_slot* slot) { delete slot; }

int rtcuda_generate(rtcuda_slot* const* slots, int count, const float* latents, uint8_t* codes, int n) {
  return guarded([&] {
    std::vector<rtcuda::CudaSlot*> engine_slots;
    std::vector<uint8_t*> places;
    for (int i = 0; i < count; ++i) {
      engine_slots.push_back(&slots[i]->slot);
      places.push_back(codes + static_cast<std::ptrdiff_t>(i) * n);
      if (latents)
        engine_slots[static_cast<std::size_t>(i)]->begin_hop(
            latents + static_cast<std::ptrdiff_t>(i) * engine_slots[0]->decoder().config().latent_channels);
    }
    if (!rtcuda::generate_together(engine_slots.data(), places.data(), count, n))
      throw rtcuda::DeviceError("the device failed, and won't come back");
    return 1;
  });
}

int rtcuda_emulate(uint32_t seed, int fault) {
#if defined(RTCUDA_EMULATED)
  rtcuda::emulation_options = {seed, static_cast<rtcuda::EmulationOptions::Fault>(fault)};
  return 1;
#else
  return seed == 0 && fault == 0 ? 0 : 0;
#endif
}
