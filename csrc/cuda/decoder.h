// The WaveNet decoder of one domain on a GPU: the twin of cpu/decoder.h. `CudaDecoder` holds the weights and the memory
// of all its slots, `CudaSlot` is one stream. Several slots play in one launch; launches of one decoder follow one
// another.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cpu/decoder_weights.h"
#include "cpu/linear_prediction.h"
#include "cuda/device.h"

namespace rtcuda {

struct DecoderOptions {
  std::string precision = "fp16";
  int device = 0;
  int team_blocks = 0;  // N; 0: as the network and the device suggest
  int most_warps = kMostWarps;
  bool clusters = true;  // where the device has them
};

class CudaSlot;

class CudaDecoder {
 public:
  // [control thread] Throws std::invalid_argument on bad weights, DeviceError where the device can't run it.
  CudaDecoder(const rtengine::DecoderConfig& config, const rtengine::TensorViews& tensors,
              const DecoderOptions& options);
  ~CudaDecoder();
  CudaDecoder(const CudaDecoder&) = delete;
  CudaDecoder& operator=(const CudaDecoder&) = delete;

  const rtengine::DecoderConfig& config() const noexcept { return config_; }
  const std::string& precision() const noexcept { return options_.precision; }
  const std::string& device_name() const noexcept { return limits_.name; }
  bool clustered() const noexcept { return clustered_; }
  const Shape& shape() const noexcept { return shape_; }
  int most_teams() const noexcept { return most_teams_; }
  int resident_records() const noexcept { return resident_; }  // of each warp's, in a launch of one slot a team
  std::int64_t weight_bytes() const noexcept { return weight_bytes_; }
  std::int64_t slot_bytes() const noexcept;
  bool failed() const noexcept { return *static_cast<volatile int*>(failed_) != 0; }  // for good
  int most_together() const noexcept { return most_teams_ * kMostTeamSlots; }         // slots in one launch

  // [any thread] Logits [samples, 256] as rtengine::Decoder::logits. Throws DeviceError.
  void logits(const float* latents, const std::uint8_t* codes, std::int64_t samples, float* out);

 private:
  friend class CudaSlot;
  friend bool generate_together(CudaSlot* const*, std::uint8_t* const*, int, int) noexcept;
  struct SlotPlace {
    float *past, *base, *inputs;
  };
  struct Request {
    CudaSlot* slot;
    const std::uint8_t* forced;  // [n], or null
    std::uint8_t* codes;         // [n], or null
  };

  SlotPlace take_place();
  void give_place(const SlotPlace& place) noexcept;
  void play(const Request* requests, int count, int n, float* logits);
  void launch(const Request* requests, int count, int n, float* logits);
  int fit(int team_slots, LaunchShape& launch, Task& task) const;
  void* keep(std::size_t bytes);
  template <class T>
  const T* keep(const std::vector<T>& values);
  void make_room(std::size_t bytes, int count, int n);

  rtengine::DecoderConfig config_;
  DecoderOptions options_;
  Precision precision_;
  int lags_;  // of the linear prediction, or 0
  std::unique_ptr<Device> device_;
  DeviceLimits limits_;
  Shape shape_;
  Weights weights_;
  bool clustered_ = false;
  int most_teams_ = 0, resident_ = 0;
  std::int64_t weight_bytes_ = 0, ring_rows_ = 0;
  std::vector<void*> kept_;

  std::mutex places_mutex_;
  std::vector<SlotPlace> free_places_;

  std::mutex launch_mutex_;  // and all that follows
  float* mail_ = nullptr;
  int* failed_ = nullptr;                        // host memory
  char *staged_ = nullptr, *arrived_ = nullptr;  // tasks, latents, forced codes: host memory and its copy on the device
  std::size_t staged_bytes_ = 0;
  std::uint8_t* drawn_ = nullptr;  // host memory
  std::size_t drawn_bytes_ = 0;
  float* logits_ = nullptr;  // on the device
  std::size_t logits_floats_ = 0;
};

class CudaSlot {
 public:
  CudaSlot(std::shared_ptr<CudaDecoder> decoder, std::uint64_t seed);  // [control thread] may throw DeviceError
  ~CudaSlot();
  CudaSlot(const CudaSlot&) = delete;
  CudaSlot& operator=(const CudaSlot&) = delete;

  void reset(std::uint64_t seed) noexcept;  // equal to a fresh slot; the temperature stays
  void set_temperature(float temperature) noexcept { temperature_.store(temperature, std::memory_order_relaxed); }
  float temperature() const noexcept { return temperature_.load(std::memory_order_relaxed); }
  void begin_hop(const float* latent) noexcept;  // latent [L], clamped as on the CPU
  std::uint64_t position() const noexcept { return position_; }
  CudaDecoder& decoder() const noexcept { return *decoder_; }

 private:
  friend class CudaDecoder;
  friend bool generate_together(CudaSlot* const*, std::uint8_t* const*, int, int) noexcept;

  std::shared_ptr<CudaDecoder> decoder_;
  CudaDecoder::SlotPlace place_;
  std::vector<float> latent_;
  std::unique_ptr<rtengine::LinearPredictor> predictor_;  // its coefficients are renewed here, between launches
  bool hop_begins_ = true;
  std::uint64_t seed_;
  std::uint64_t position_ = 0;
  std::atomic<float> temperature_{1.0f};
};

// The next n codes of each of `count` slots of one decoder, all within their hops. False, and silence, when the device
// has failed: it won't come back.
bool generate_together(CudaSlot* const* slots, std::uint8_t* const* codes, int count, int n) noexcept;

}  // namespace rtcuda
