#include "cuda/decoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cpu/companding.h"

namespace rtcuda {
namespace {

constexpr float kLatentLimit = 1e6f;  // as in cpu/decoder.h
constexpr int kPatience = 1 << 22;    // polls: seconds on a GPU, where an exchange takes less than a microsecond
constexpr int kPlacesAtOnce = 4;      // slots that memory is taken for at a time
constexpr std::uint8_t kSilence = 128;
constexpr int kBestChannels = 8;  // of a block: one a warp, and still little to send

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

std::unique_ptr<rtengine::LinearPredictor> predictor_of(const rtengine::DecoderConfig& config) {
  return config.prediction_order ? std::make_unique<rtengine::LinearPredictor>(config.prediction_order) : nullptr;
}

}  // namespace

CudaDecoder::CudaDecoder(const rtengine::DecoderConfig& config, const rtengine::TensorViews& tensors,
                         const DecoderOptions& options)
    : config_(config),
      options_(options),
      precision_(precision_of(options.precision)),
      lags_(rtengine::LinearPredictor::lags_of(config.prediction_order)) {
  const auto checked = rtengine::DecoderWeights::from_tensors(config, tensors);
  device_ = open_device(options.device);
  limits_ = device_->limits();

  // The largest team that the device can run: clusters first, then fewer blocks.
  PackedWeights packed;
  const int channels = (std::max(config.residual_channels, config.skip_channels) + kColumns - 1) / kColumns * kColumns;
  int blocks = options.team_blocks ? options.team_blocks : 1;
  while (!options.team_blocks && blocks < kMostTeamBlocks && blocks * kBestChannels < channels) blocks *= 2;
  const int wanted = blocks;
  for (const bool clustered : {true, false}) {
    if (clustered && !(options.clusters && limits_.clusters)) continue;
    for (blocks = wanted; blocks >= 1 && most_teams_ == 0; blocks /= 2) {
      packed = pack(checked, precision_, blocks, options.most_warps);
      shape_ = packed.shape;
      clustered_ = clustered;
      LaunchShape launch;
      Task task;
      resident_ = fit(1, launch, task);
      if (resident_ >= 0) most_teams_ = device_->most_teams(launch);
      if (options.team_blocks) break;
    }
    if (most_teams_ > 0) break;
  }
  if (most_teams_ == 0) throw DeviceError(limits_.name + ": has no room for a team of this network's blocks");
  most_teams_ = std::min(most_teams_, kMostSlots / kMostTeamSlots * 2);

  ring_rows_ = packed.ring_rows;
  weight_bytes_ = static_cast<std::int64_t>(packed.records.size() * sizeof(QuadWords));
  const std::size_t needed = size(weight_bytes_) * 5 / 4 + size(slot_bytes()) * kPlacesAtOnce + (16u << 20);
  if (limits_.free_bytes < needed)
    throw DeviceError(limits_.name + ": expected " + std::to_string(needed >> 20) + " MB of free memory, found " +
                      std::to_string(limits_.free_bytes >> 20));
  try {
    weights_.records = keep(packed.records);
    weights_.scales = packed.scales.empty() ? nullptr : keep(packed.scales);
    weights_.input = keep(packed.input);
    weights_.skip_input = keep(packed.skip_input);
    weights_.residual_bias = keep(packed.residual_bias);
    weights_.base_bias = keep(packed.base_bias);
    weights_.latent = keep(packed.latent);
    weights_.logits_bias = keep(packed.logits_bias);
    if (!clustered_) {
      Task task;
      task.shape = shape_;
      task.team_slots = kMostTeamSlots;
      mail_ = static_cast<float*>(keep(size(std::int64_t{most_teams_} * task.mail_floats() * 4)));
    }
    failed_ = static_cast<int*>(device_->allocate_host(sizeof(int)));
    *failed_ = 0;
  } catch (...) {
    for (void* memory : kept_) device_->release(memory);
    throw;
  }
}

CudaDecoder::~CudaDecoder() {
  for (void* memory : kept_) device_->release(memory);
  for (void* memory : {static_cast<void*>(arrived_), static_cast<void*>(logits_)})
    if (memory) device_->release(memory);
  for (void* memory : {static_cast<void*>(failed_), static_cast<void*>(staged_), static_cast<void*>(drawn_)})
    if (memory) device_->release_host(memory);
}

std::int64_t CudaDecoder::slot_bytes() const noexcept {
  const std::int64_t c = shape_.channels;
  return static_cast<std::int64_t>(aligned(size(ring_rows_ * c * 2 * 4)) +
                                   aligned(size((shape_.layers + 1) * c * 2 * 4)) + aligned(2 * 4));
}

void* CudaDecoder::keep(std::size_t bytes) {
  kept_.push_back(nullptr);
  return kept_.back() = device_->allocate(bytes);
}

template <class T>
const T* CudaDecoder::keep(const std::vector<T>& values) {
  void* const memory = keep(values.size() * sizeof(T));
  device_->upload(memory, values.data(), values.size() * sizeof(T));
  return static_cast<const T*>(memory);
}

// The launch of teams of so many slots, with as many weights in shared memory as there is room for; negative: none.
int CudaDecoder::fit(int team_slots, LaunchShape& launch, Task& task) const {
  task.shape = shape_;
  task.team_slots = team_slots;
  task.clustered = clustered_;
  task.lags = lags_;
  launch.precision = precision_;
  launch.together = precision_ == Precision::kFloat32 ? 1 : std::min(team_slots, 4);
  launch.blocks = shape_.team_blocks;
  launch.warps = shape_.warps;
  launch.clustered = clustered_;
  const int parts = parts_of(precision_), bare = block_memory(task, parts).total;
  task.resident = 1;
  const int one = block_memory(task, parts).total - bare;
  task.resident = std::min((limits_.shared_bytes - bare) / one, shape_.records());
  if (bare > limits_.shared_bytes) return -1;
  launch.shared_bytes = block_memory(task, parts).total;
  return task.resident;
}

CudaDecoder::SlotPlace CudaDecoder::take_place() {
  const std::lock_guard lock(places_mutex_);
  if (free_places_.empty()) {
    // Several at once: a device may stand still while it hands out memory.
    const std::size_t past = aligned(size(ring_rows_ * shape_.channels * 2 * 4));
    const std::size_t base = aligned(size((shape_.layers + 1) * std::int64_t{shape_.channels} * 2 * 4));
    char* const memory = static_cast<char*>(keep(size(slot_bytes()) * kPlacesAtOnce));
    for (int i = kPlacesAtOnce - 1; i >= 0; --i) {
      char* const at = memory + size(slot_bytes()) * size(i);
      free_places_.push_back({reinterpret_cast<float*>(at), reinterpret_cast<float*>(at + past),
                              reinterpret_cast<float*>(at + past + base)});
    }
  }
  const SlotPlace place = free_places_.back();
  free_places_.pop_back();
  return place;
}

void CudaDecoder::give_place(const SlotPlace& place) noexcept {
  const std::lock_guard lock(places_mutex_);
  free_places_.push_back(place);
}

void CudaDecoder::make_room(std::size_t bytes, int count, int n) {
  if (bytes > staged_bytes_) {
    if (staged_) device_->release_host(staged_);
    if (arrived_) device_->release(arrived_);
    staged_ = arrived_ = nullptr;
    staged_bytes_ = 2 * bytes;
    staged_ = static_cast<char*>(device_->allocate_host(staged_bytes_));
    arrived_ = static_cast<char*>(device_->allocate(staged_bytes_));
  }
  if (size(count) * size(n) > drawn_bytes_) {
    if (drawn_) device_->release_host(drawn_);
    drawn_ = nullptr;
    drawn_bytes_ = 2 * size(count) * size(n);
    drawn_ = static_cast<std::uint8_t*>(device_->allocate_host(drawn_bytes_));
  }
}

// At most most_together() slots. logits [n, 256] is of the first, or null. As many launches as there are sets of
// coefficients.
void CudaDecoder::play(const Request* requests, int count, int n, float* logits) {
  for (int first = 0; first < n;) {
    int part = n - first;
    Request parts[kMostSlots];
    for (int i = 0; i < count; ++i) {
      const Request& of = requests[i];
      parts[i] = {of.slot, of.forced ? of.forced + first : nullptr, of.codes ? of.codes + first : nullptr};
      if (of.slot->predictor_) part = std::min(part, of.slot->predictor_->renewal_in());
    }
    launch(parts, count, part, logits ? logits + std::int64_t{first} * kClassCount : nullptr);
    first += part;
  }
}

void CudaDecoder::launch(const Request* requests, int count, int n, float* logits) {
  const std::lock_guard lock(launch_mutex_);
  if (*failed_) throw DeviceError(limits_.name + ": an earlier launch failed");
  LaunchShape launch;
  Task task;
  const int each = (count + most_teams_ - 1) / most_teams_;  // slots a team
  const int team_slots = precision_ == Precision::kFloat32 || each == 1 ? each : (each + 3) / 4 * 4;
  if (fit(team_slots, launch, task) < 0) throw DeviceError(limits_.name + ": no room for so many slots");
  launch.teams = (count + each - 1) / each;
  task.weights = weights_;
  task.samples = n;
  task.mail = mail_;
  task.patience = kPatience;
  task.failed = failed_;

  const std::size_t task_bytes = aligned(size(launch.teams) * size(team_slots) * sizeof(SlotTask));
  const std::size_t latent_floats = size(config_.latent_channels);
  const std::size_t latent_bytes = aligned(size(count) * latent_floats * sizeof(float));
  const std::size_t lags = size(task.lags), prediction_at = task_bytes + latent_bytes;
  const std::size_t forced_from = prediction_at + aligned(size(count) * 2 * lags * sizeof(float));
  const std::size_t bytes = forced_from + size(count) * size(n);
  make_room(bytes, count, n);
  if (logits && size(n) * kClassCount > logits_floats_) {
    if (logits_) device_->release(logits_);
    logits_ = nullptr;
    logits_floats_ = size(n) * kClassCount;
    logits_ = static_cast<float*>(device_->allocate(logits_floats_ * sizeof(float)));
  }

  SlotTask* const tasks = reinterpret_cast<SlotTask*>(staged_);
  for (int team = 0; team < launch.teams; ++team)
    for (int i = 0; i < team_slots; ++i) {
      const int own = std::min(each, count - team * each);  // of this team; others stand in to fill it up
      const int index = team * each + (i < own ? i : 0);
      CudaSlot& slot = *requests[index].slot;
      const std::size_t latent_at = task_bytes + size(index) * latent_floats * sizeof(float);
      const std::size_t forced_at = forced_from + size(index) * size(n);
      SlotTask to;
      to.past = slot.place_.past;
      to.base = slot.place_.base;
      to.inputs = slot.place_.inputs;
      to.seed = slot.seed_;
      to.position = static_cast<std::int64_t>(slot.position_);
      to.temperature = slot.temperature();
      to.muted = i >= own;
      to.begin_hop = slot.hop_begins_ && !to.muted;
      to.latent = reinterpret_cast<const float*>(arrived_ + latent_at);
      to.codes = drawn_ + size(index) * size(n);
      to.logits = index == 0 && logits ? logits_ : nullptr;
      std::memcpy(staged_ + latent_at, slot.latent_.data(), latent_floats * sizeof(float));
      if (slot.predictor_) {
        const std::size_t taps_at = prediction_at + size(index) * 2 * lags * sizeof(float);
        const std::size_t recent_at = taps_at + lags * sizeof(float);
        if (!to.muted) {
          slot.predictor_->predict();  // renews the coefficients when it is time
          std::memcpy(staged_ + taps_at, slot.predictor_->taps(), lags * sizeof(float));
          std::memcpy(staged_ + recent_at, slot.predictor_->recent(), lags * sizeof(float));
        }
        to.taps = reinterpret_cast<const float*>(arrived_ + taps_at);
        to.recent = reinterpret_cast<const float*>(arrived_ + recent_at);
      }
      if (requests[index].forced) {
        std::memcpy(staged_ + forced_at, requests[index].forced, size(n));
        to.forced = reinterpret_cast<const std::uint8_t*>(arrived_ + forced_at);
      }
      tasks[team * team_slots + i] = to;
    }
  task.slots = reinterpret_cast<const SlotTask*>(arrived_);
  const std::size_t mail_bytes = clustered_ ? 0 : size(launch.teams) * size(task.mail_floats()) * sizeof(float);
  device_->play(launch, task, arrived_, staged_, bytes, mail_bytes);
  if (*failed_) throw DeviceError(limits_.name + ": blocks waited in vain for one another");

  for (int i = 0; i < count; ++i) {
    CudaSlot& slot = *requests[i].slot;
    slot.position_ += static_cast<std::uint64_t>(n);
    slot.hop_begins_ = false;
    if (slot.predictor_) {
      const std::uint8_t* const codes = requests[i].forced ? requests[i].forced : drawn_ + size(i) * size(n);
      for (int k = 0; k < n; ++k) slot.predictor_->push(rtengine::expanded(rtengine::network_input(codes[k])));
    }
    if (requests[i].codes) std::memcpy(requests[i].codes, drawn_ + size(i) * size(n), size(n));
  }
  if (logits) device_->download(logits, logits_, size(n) * kClassCount * sizeof(float));
}

void CudaDecoder::logits(const float* latents, const std::uint8_t* codes, std::int64_t samples, float* out) {
  // A slot that doesn't own the decoder: it lives in this call alone.
  CudaSlot slot(std::shared_ptr<CudaDecoder>(this, [](CudaDecoder*) {}), 0);
  for (std::int64_t t = 0; t < samples; t += config_.hop_samples) {
    const int n = static_cast<int>(std::min<std::int64_t>(config_.hop_samples, samples - t));
    slot.begin_hop(latents + t / config_.hop_samples * config_.latent_channels);
    const Request request{&slot, codes + t, nullptr};
    play(&request, 1, n, out + t * kClassCount);
  }
}

CudaSlot::CudaSlot(std::shared_ptr<CudaDecoder> decoder, std::uint64_t seed)
    : decoder_(std::move(decoder)),
      place_(decoder_->take_place()),
      latent_(static_cast<std::size_t>(decoder_->config().latent_channels)),
      predictor_(predictor_of(decoder_->config())),
      seed_(seed) {}

CudaSlot::~CudaSlot() { decoder_->give_place(place_); }

void CudaSlot::reset(std::uint64_t seed) noexcept {
  seed_ = seed;
  position_ = 0;  // the kernel reads nothing that lies before it
  if (predictor_) predictor_->reset();
}

void CudaSlot::begin_hop(const float* latent) noexcept {
  for (std::size_t i = 0; i < latent_.size(); ++i) {
    const float value = latent[i];
    latent_[i] = value != value ? 0.0f : std::clamp(value, -kLatentLimit, kLatentLimit);
  }
  hop_begins_ = true;
}

bool generate_together(CudaSlot* const* slots, std::uint8_t* const* codes, int count, int n) noexcept {
  CudaDecoder& decoder = slots[0]->decoder();
  const int most = std::min(decoder.most_together(), kMostSlots);
  try {
    for (int first = 0; first < count; first += most) {
      const int part = std::min(most, count - first);
      CudaDecoder::Request requests[kMostSlots];
      for (int i = 0; i < part; ++i) requests[i] = {slots[first + i], nullptr, codes[first + i]};
      decoder.play(requests, part, n, nullptr);
    }
    return true;
  } catch (const std::exception&) {
    for (int i = 0; i < count; ++i) std::memset(codes[i], kSilence, size(n));
    return false;
  }
}

}  // namespace rtcuda
