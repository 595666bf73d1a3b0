#include "rtbridge/bridge.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "parameters.h"
#include "rtbridge/atomics.h"

namespace rtbridge {
namespace {

constexpr uint64_t kHeartbeatStaleNs = 250'000'000;

float from_db(float db) noexcept { return db == 0.0f ? 1.0f : std::pow(10.0f, db / 20.0f); }

}  // namespace

void Bridge::Ramp::jump(float to) noexcept {
  value = target = to;
  left = 0;
}

void Bridge::Ramp::go(float to, uint32_t frames) noexcept {
  if (to == target) return;
  target = to;
  left = std::max(frames, 1u);
  step = (to - value) / static_cast<float>(left);
}

float Bridge::Ramp::next() noexcept {
  if (left > 0) value = --left == 0 ? target : value + step;
  return value;
}

Bridge::Bridge(const BridgeConfig& config) : config_(config), fade_(std::max(config.fade_frames, 1u)) {
  if (config.channels < 1 || config.channels > RT_MAX_CHANNELS)
    throw std::invalid_argument("channels: expected 1 or 2, found " + std::to_string(config.channels));
  if (config.max_block_frames < 1 || config.max_block_frames > 16384)
    throw std::invalid_argument("max_block_frames: expected 1 to 16384, found " +
                                std::to_string(config.max_block_frames));
  if (config.latency_frames < config.max_block_frames + 2 * config.fade_frames || config.latency_frames > 1u << 22)
    throw std::invalid_argument("latency_frames: expected at least a block and two fades, found " +
                                std::to_string(config.latency_frames));
  for (size_t i = 0; i < index(Param::kCount); ++i) values_[i].store(static_cast<float>(kRanges[i].initial));
  for (auto& count : misses_by_cause_) count.store(0);
  const uint32_t delay_frames = std::bit_ceil(config.latency_frames + config.max_block_frames);
  delay_memory_.assign(size_t{delay_frames} * config.channels, 0.0f);
  delay_ = RingView(delay_memory_.data(), delay_frames, config.channels);
  wet_.resize(size_t{config.max_block_frames} * config.channels);
  dry_.resize(wet_.size());
  tail_.assign(size_t{fade_} * config.channels, 0.0f);
  end_frames_.assign(RT_STAMPS, 0);
  submitted_ns_.assign(RT_STAMPS, 0);
}

Bridge::~Bridge() {
  if (control_segment_) {
    store_release(control_segment_->header().closed_by_client, 1u);
    control_segment_->server_wake().notify();
  }
  delete pending_.exchange(nullptr);
  free_retired();
  delete current_;
}

// --- control thread ---

void Bridge::free_retired() noexcept {
  Attachment* a = retired_.exchange(nullptr, std::memory_order_acquire);
  while (a) {
    Attachment* next = a->next_retired;
    delete a;
    a = next;
  }
}

void Bridge::take_over(std::shared_ptr<Segment> segment) {
  if (control_segment_) {
    rt_header& old = control_segment_->header();
    // Whoever set last wins: values that the server wrote are carried on too.
    for (uint32_t i = 0; i < index(Param::kCount); ++i) {
      const auto param = static_cast<Param>(i);
      if (param == Param::kPanic) continue;
      if (param == Param::kSeed)
        seed_.store(load_relaxed(old.seed), std::memory_order_relaxed);
      else
        values_[i].store(clamped(param, static_cast<float>(read_field(old, param))), std::memory_order_relaxed);
      touched_ |= 1u << i;
    }
  }
  if (segment) {
    rt_header& h = segment->header();
    store_release(h.client_pid, current_pid());
    store_release(h.client_heartbeat_ns, monotonic_ns());
    for (uint32_t i = 0; i < index(Param::kCount); ++i) {
      const auto param = static_cast<Param>(i);
      if (param == Param::kPanic || !(touched_ & (1u << i))) continue;
      if (param == Param::kSeed)
        store_relaxed(h.seed, seed_.load(std::memory_order_relaxed));
      else
        write_field(h, param, values_[i].load(std::memory_order_relaxed));
    }
  }
  auto* attachment = new Attachment{segment, nullptr};
  delete pending_.exchange(attachment, std::memory_order_acq_rel);  // one that the audio thread never took
  if (control_segment_) {
    store_release(control_segment_->header().closed_by_client, 1u);
    control_segment_->server_wake().notify();
  }
  control_segment_ = std::move(segment);
  free_retired();
}

void Bridge::attach(std::shared_ptr<Segment> segment) {
  if (!segment) return detach();
  const Geometry& g = segment->geometry();
  const auto require = [](const char* what, uint32_t expected, uint32_t found) {
    if (expected != found)
      throw std::invalid_argument(std::string(what) + ": the bridge has " + std::to_string(expected) +
                                  ", the segment has " + std::to_string(found));
  };
  require("sample_rate_hz", config_.sample_rate_hz, g.sample_rate_hz);
  require("channels", config_.channels, g.channels);
  require("latency_frames", config_.latency_frames, g.latency.reported);
  if (g.latency.block < config_.max_block_frames || g.max_block_frames < config_.max_block_frames)
    throw std::invalid_argument("max_block_frames: the bridge has " + std::to_string(config_.max_block_frames) +
                                ", the segment allows " + std::to_string(g.max_block_frames));
  take_over(std::move(segment));
}

void Bridge::detach() { take_over(nullptr); }

void Bridge::heartbeat() noexcept {
  if (control_segment_) store_release(control_segment_->header().client_heartbeat_ns, monotonic_ns());
  free_retired();
}

bool Bridge::server_alive() const noexcept {
  if (!control_segment_) return false;
  const rt_header& h = control_segment_->header();
  return load_acquire(h.closed_by_server) == 0 &&
         monotonic_ns() - std::min(monotonic_ns(), load_acquire(h.server_heartbeat_ns)) < kHeartbeatStaleNs;
}

bool Bridge::set(Param param, double value) noexcept {
  if (param >= Param::kCount || std::isnan(value)) return false;
  const Range& range = kRanges[index(param)];
  value = std::clamp(value, range.low, range.high);
  touched_ |= 1u << index(param);
  if (param == Param::kSeed) {
    const uint64_t seed = value >= 18446744073709549568.0 ? UINT64_MAX : static_cast<uint64_t>(value);
    seed_.store(seed, std::memory_order_relaxed);
    if (control_segment_) store_relaxed(control_segment_->header().seed, seed);
    return true;
  }
  values_[index(param)].store(static_cast<float>(value), std::memory_order_relaxed);
  if (control_segment_) {
    if (param == Param::kPanic)
      add(control_segment_->header().panic, 1u);
    else
      write_field(control_segment_->header(), param, value);
  }
  return true;
}

double Bridge::get(Param param) const noexcept {
  if (param >= Param::kCount) return 0.0;
  if (control_segment_) return read_field(control_segment_->header(), param);
  if (param == Param::kSeed) return static_cast<double>(seed_.load(std::memory_order_relaxed));
  return values_[index(param)].load(std::memory_order_relaxed);
}

BridgeStats Bridge::stats() const noexcept {
  BridgeStats s;
  s.blocks = blocks_.load(std::memory_order_relaxed);
  s.misses = misses_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < RT_MISS_CAUSES; ++i)
    s.misses_by_cause[i] = misses_by_cause_[i].load(std::memory_order_relaxed);
  s.epochs = epochs_.load(std::memory_order_relaxed);
  s.frames = frames_.load(std::memory_order_relaxed);
  return s;
}

// --- audio thread: the epoch and the rings ---

void Bridge::adopt_pending() noexcept {
  Attachment* next = pending_.exchange(nullptr, std::memory_order_acq_rel);
  if (!next) return;
  if (current_) {
    Attachment* head = retired_.load(std::memory_order_relaxed);
    do current_->next_retired = head;
    while (!retired_.compare_exchange_weak(head, current_, std::memory_order_release, std::memory_order_relaxed));
  }
  current_ = next;
  segment_ = next->segment.get();
  state_ = State::kIdle;
  restart_cause_ = RT_MISS_CAUSES;
  if (segment_) {
    input_ = segment_->input();
    output_ = segment_->output();
    panic_seen_ = load_relaxed(segment_->header().panic);
    blocks_submitted_ = harvested_ = load_relaxed(segment_->header().blocks_submitted);
    // The control thread carried over what it saw; this thread may have set a value since.
    for (uint32_t i = 0; i < index(Param::kCount); ++i)
      if (live_ & (1u << i)) store_live(static_cast<Param>(i));
  }
}

void Bridge::store_live(Param param) noexcept {
  const double value = live_values_[index(param)];
  if (param == Param::kSeed) {
    seed_.store(static_cast<uint64_t>(value), std::memory_order_relaxed);
    if (segment_) store_relaxed(segment_->header().seed, static_cast<uint64_t>(value));
    return;
  }
  values_[index(param)].store(static_cast<float>(value), std::memory_order_relaxed);
  if (segment_) write_field(segment_->header(), param, value);
}

bool Bridge::set_live(Param param, double value) noexcept {
  if (param >= Param::kCount || std::isnan(value)) return false;
  if (param == Param::kPanic) {
    if (segment_) add(segment_->header().panic, 1u);
    return true;
  }
  const Range& range = kRanges[index(param)];
  constexpr double kLargestSeed = 9007199254740992.0;  // whole numbers up to here are exact
  live_values_[index(param)] = std::clamp(value, range.low, std::min(range.high, kLargestSeed));
  live_ |= 1u << index(param);
  store_live(param);
  return true;
}

void Bridge::request_epoch() noexcept {
  rt_header& h = segment_->header();
  if (++epoch_ == 0) epoch_ = 1;
  store_relaxed(h.offline, offline() ? 1u : 0u);
  store_release(h.epoch_requested, epoch_);
  state_ = State::kRequested;
  segment_->server_wake().notify();
}

void Bridge::reset() noexcept {
  adopt_pending();
  std::fill(delay_memory_.begin(), delay_memory_.end(), 0.0f);
  std::fill(tail_.begin(), tail_.end(), 0.0f);
  tail_used_ = 0;
  presence_ = 0;
  origin_ = frame_;
  panicking_ = false;
  mixing_started_ = false;
  if (segment_) {
    state_ = State::kIdle;
    request_epoch();
  }
}

// Hands the block in, as far as the epoch's handshake has come.
Status Bridge::submit(const float* in, uint32_t frames, uint64_t now_ns) noexcept {
  if (!segment_) return offline() ? Status::kServerGone : Status::kOk;
  rt_header& h = segment_->header();
  store_relaxed(h.client_heartbeat_ns, now_ns);
  store_relaxed(h.offline, offline() ? 1u : 0u);

  const uint32_t panic = load_relaxed(h.panic);
  if (panic != panic_seen_) {
    panic_seen_ = panic;
    panicking_ = true;
    state_ = State::kIdle;
  }
  if (state_ == State::kIdle) request_epoch();
  if (state_ == State::kRequested) {
    if (offline() && !wait_until_ready(now_ns + uint64_t{offline_deadline_ms()} * 1'000'000))
      return Status::kServerGone;
    if (load_acquire(h.epoch_ready) != epoch_) return Status::kOk;
    epoch_start_ = frame_;
    store_relaxed(h.input_write_frame, frame_);
    store_relaxed(h.output_read_frame, frame_);
    store_relaxed(h.epoch_start_frame, frame_);
    harvested_ = blocks_submitted_;
    store_release(h.epoch_live, epoch_);
    state_ = State::kLive;
    epochs_.fetch_add(1, std::memory_order_relaxed);
  }

  // Frames that the server has not taken yet must not be overwritten. Its read index is this epoch's once it runs.
  const auto room = [&]() noexcept {
    const bool running = load_acquire(h.epoch_running) == epoch_;
    const uint64_t read = running ? load_acquire(h.input_read_frame) : epoch_start_;
    return frame_ + frames - read <= input_.ring_frames();
  };
  if (!room()) {
    if (!offline()) {
      restart_cause_ = RT_MISS_OVERRUN;
      request_epoch();
      return Status::kOk;
    }
    const uint64_t deadline = now_ns + uint64_t{offline_deadline_ms()} * 1'000'000;
    while (!room()) {
      const uint64_t now = monotonic_ns();
      if (now >= deadline || server_gone(now)) return Status::kServerGone;
      Wake wake = segment_->client_wake();
      wake.wait(wake.prepare(), 1'000'000);
    }
  }
  input_.write(frame_, in, frames);

  const uint64_t slot = blocks_submitted_ % RT_STAMPS;
  const uint64_t end = frame_ + frames;
  end_frames_[slot] = end;
  submitted_ns_[slot] = now_ns;
  rt_stamp& stamp = h.stamps[slot];
  store_relaxed(stamp.published_ns, uint64_t{0});
  store_relaxed(stamp.submitted_ns, now_ns);
  store_release(stamp.end_frame, end);
  store_release(h.blocks_submitted, ++blocks_submitted_);
  store_release(h.input_write_frame, end);
  segment_->server_wake().notify();
  return offline() ? wait_taken(now_ns + uint64_t{offline_deadline_ms()} * 1'000'000) : Status::kOk;
}

bool Bridge::wet_ready(int64_t from, uint32_t frames) const noexcept {
  if (!segment_ || state_ != State::kLive) return false;
  const rt_header& h = segment_->header();
  const auto start = static_cast<int64_t>(epoch_start_);
  // Before the stream's very first frame there was silence; before a later epoch's first frame there is nothing.
  if (from < start && epoch_start_ != origin_) return false;
  if (load_acquire(h.closed_by_server) != 0) return false;
  const int64_t need = from + frames + fade_;
  if (need <= start) return true;
  // Acquire in this order: output_write_frame was set to the epoch's start before epoch_running became its number.
  if (load_acquire(h.epoch_running) != epoch_) return false;
  return static_cast<int64_t>(load_acquire(h.output_write_frame)) >= need;
}

void Bridge::read_wet(int64_t from, float* target, uint32_t frames) const noexcept {
  const auto start = static_cast<int64_t>(epoch_start_);
  uint32_t silent = 0;
  if (from < start) {
    silent = static_cast<uint32_t>(std::min<int64_t>(start - from, frames));
    std::fill_n(target, size_t{silent} * config_.channels, 0.0f);
  }
  if (silent < frames)
    output_.read(static_cast<uint64_t>(from + silent), target + size_t{silent} * config_.channels, frames - silent);
}

// --- audio thread: misses ---

uint32_t Bridge::miss_cause(int64_t from, uint32_t frames, uint64_t now_ns) const noexcept {
  if (!segment_) return RT_MISS_SERVER;
  const rt_header& h = segment_->header();
  const uint64_t beat = load_acquire(h.server_heartbeat_ns);
  if (load_acquire(h.closed_by_server) != 0 || (now_ns > beat && now_ns - beat > kHeartbeatStaleNs))
    return RT_MISS_SERVER;
  if (restart_cause_ != RT_MISS_CAUSES) return restart_cause_;
  if (state_ != State::kLive || from < static_cast<int64_t>(epoch_start_) || load_acquire(h.epoch_running) != epoch_)
    return RT_MISS_STARTING;

  // The last input frame that the missing output depends on, and when it was handed in. The contract gives the server
  // the margin less the fade from then on; a host that asks sooner has called in a burst.
  const rt_latency& l = segment_->geometry().latency;
  const int64_t need = from + frames + fade_;
  const int64_t need_in = need + (static_cast<int64_t>(l.reported) - l.block - l.margin - l.jitter);
  const uint64_t known = std::min<uint64_t>(blocks_submitted_, RT_STAMPS);
  uint64_t submitted = now_ns;
  for (uint64_t back = 1; back <= known; ++back) {
    const uint64_t slot = (blocks_submitted_ - back) % RT_STAMPS;
    if (static_cast<int64_t>(end_frames_[slot]) < need_in) break;
    submitted = submitted_ns_[slot];
  }
  const uint64_t promised_frames = uint64_t{l.margin} + l.jitter - std::min(l.margin + l.jitter, fade_);
  const uint64_t promised_ns = promised_frames * 1'000'000'000u / config_.sample_rate_hz;
  if (now_ns - submitted < promised_ns - promised_ns / 10) return RT_MISS_HOST;

  if (segment_->geometry().transport == RT_TRANSPORT_REMOTE) return RT_MISS_NETWORK;
  if (static_cast<int64_t>(load_acquire(h.input_read_frame)) < need_in) return RT_MISS_INTAKE;
  if (static_cast<int64_t>(load_acquire(h.encoded_frame)) < need) return RT_MISS_ENCODER;
  return RT_MISS_DECODER;
}

void Bridge::count_miss(uint32_t cause, uint64_t now_ns) noexcept {
  misses_.fetch_add(1, std::memory_order_relaxed);
  misses_by_cause_[cause].fetch_add(1, std::memory_order_relaxed);
  if (segment_) {
    store_relaxed(segment_->header().misses, misses_.load(std::memory_order_relaxed));
    store_relaxed(segment_->header().misses_by_cause[cause], misses_by_cause_[cause].load(std::memory_order_relaxed));
  }
  if (log_ && log_->miss_count < log_->misses.size()) log_->misses[log_->miss_count++] = {now_ns, frame_, cause};
}

// A server that is far behind would need longer to catch up than to start anew: what it still owes is late anyway.
void Bridge::restart_if_far_behind(int64_t from, uint32_t frames, uint32_t cause) noexcept {
  if (!segment_ || state_ != State::kLive || from < static_cast<int64_t>(epoch_start_)) return;
  const rt_header& h = segment_->header();
  const bool running = load_acquire(h.epoch_running) == epoch_;
  const uint64_t written = running ? load_acquire(h.output_write_frame) : epoch_start_;
  const int64_t behind = from + frames + fade_ - static_cast<int64_t>(written);
  const int64_t allowed = std::max<int64_t>(config_.sample_rate_hz / 10, 2 * int64_t{config_.max_block_frames});
  if (behind <= allowed) return;
  if (restart_cause_ == RT_MISS_CAUSES) restart_cause_ = cause;
  request_epoch();
}

void Bridge::harvest_round_trips() noexcept {
  const rt_header& h = segment_->header();
  if (blocks_submitted_ - harvested_ > RT_STAMPS) harvested_ = blocks_submitted_ - RT_STAMPS;
  while (harvested_ < blocks_submitted_) {
    const uint64_t slot = harvested_ % RT_STAMPS;
    const uint64_t published = load_acquire(h.stamps[slot].published_ns);
    if (published == 0) return;
    ++harvested_;
    if (published > submitted_ns_[slot] && log_->round_trips < log_->round_trip_us.size())
      log_->round_trip_us[log_->round_trips++] = static_cast<float>(published - submitted_ns_[slot]) * 1e-3f;
  }
}

// --- audio thread: the mix ---

float Bridge::parameter(Param param) const noexcept {
  const float value = segment_ ? static_cast<float>(read_field(segment_->header(), param))
                               : values_[index(param)].load(std::memory_order_relaxed);
  return clamped(param, value);
}

void Bridge::read_mix_parameters() noexcept {
  const bool bypass = parameter(Param::kBypass) != 0.0f;
  const float mix = parameter(Param::kMix);
  const float gain = from_db(parameter(Param::kOutputGainDb));
  const float wet = bypass ? 0.0f : gain * mix;
  const float dry = bypass ? 1.0f : gain * (1.0f - mix);
  const float fallback =
      panicking_ || static_cast<uint32_t>(parameter(Param::kFallback)) == RT_FALLBACK_SILENCE ? 0.0f : 1.0f;
  const uint32_t glide = 5 * fade_;
  if (!mixing_started_) {
    mixing_started_ = true;
    wet_weight_.jump(wet);
    dry_weight_.jump(dry);
    fallback_weight_.jump(fallback);
    return;
  }
  wet_weight_.go(wet, glide);
  dry_weight_.go(dry, glide);
  if (presence_ == fade_)
    fallback_weight_.jump(fallback);  // inaudible now
  else
    fallback_weight_.go(fallback, glide);
}

// out = wet_weight * (translation, or its fallback) + dry_weight * dry. The translation alone passes bit for bit.
void Bridge::mix_block(float* out, uint32_t frames, bool ready) noexcept {
  const uint32_t channels = config_.channels;
  for (uint32_t i = 0; i < frames; ++i) {
    const float* wet = nullptr;
    if (ready) {
      presence_ = std::min(presence_ + 1, fade_);
      wet = wet_.data() + size_t{i} * channels;
    } else if (presence_ > 0) {
      --presence_;
      wet = tail_.data() + size_t{tail_used_++} * channels;  // presence_ <= fade_: it never runs out
    }
    const float a = wet_weight_.next(), b = dry_weight_.next(), f = fallback_weight_.next();
    const float part = static_cast<float>(presence_) / static_cast<float>(fade_);
    for (uint32_t c = 0; c < channels; ++c) {
      const float dry = dry_[size_t{i} * channels + c];
      float w;
      if (presence_ == fade_)
        w = wet[c];
      else if (presence_ == 0)
        w = f == 1.0f ? dry : f * dry;
      else
        w = part * wet[c] + (1.0f - part) * f * dry;
      float y;
      if (b == 0.0f)
        y = a == 1.0f ? w : a * w;
      else if (a == 0.0f)
        y = b == 1.0f ? dry : b * dry;
      else
        y = a * w + b * dry;
      out[size_t{i} * channels + c] = y;
    }
  }
}

Status Bridge::process_block(const float* in, float* out, uint32_t frames) noexcept {
  adopt_pending();
  const uint64_t now = monotonic_ns();
  const int64_t from = static_cast<int64_t>(frame_) - config_.latency_frames;
  const size_t samples = size_t{frames} * config_.channels;

  delay_.write(frame_, in, frames);
  Status status = submit(in, frames, now);
  delay_.read(static_cast<uint64_t>(from), dry_.data(), frames);  // wraps below zero: still the ring's slot

  if (status == Status::kOk && offline()) status = wait_for_wet(from, frames);
  const bool ready = status == Status::kOk && wet_ready(from, frames);
  if (ready) {
    read_wet(from, wet_.data(), frames);
    read_wet(from + frames, tail_.data(), fade_);
    tail_used_ = 0;
  } else {
    const uint32_t cause = miss_cause(from, frames, now);
    count_miss(cause, now);
    if (!offline()) restart_if_far_behind(from, frames, cause);
  }
  read_mix_parameters();
  mix_block(out, frames, ready);
  if (presence_ == fade_) {
    panicking_ = false;
    restart_cause_ = RT_MISS_CAUSES;
  }
  if (status != Status::kOk) std::fill_n(out, samples, 0.0f);

  frame_ += frames;
  if (segment_) {
    rt_header& h = segment_->header();
    if (state_ == State::kLive && from + frames > static_cast<int64_t>(epoch_start_))
      store_release(h.output_read_frame, static_cast<uint64_t>(from + frames));
    store_relaxed(h.blocks, blocks_.load(std::memory_order_relaxed) + 1);
    if (log_) harvest_round_trips();
  }
  blocks_.fetch_add(1, std::memory_order_relaxed);
  frames_.fetch_add(frames, std::memory_order_relaxed);
  return status;
}

Status Bridge::process(const float* in, float* out, uint32_t frames) noexcept {
  Status status = Status::kOk;
  adopt_pending();
  const uint32_t passed = pass_leading_silence(in, out, frames);
  in += size_t{passed} * config_.channels;
  out += size_t{passed} * config_.channels;
  frames -= passed;
  while (frames > 0) {
    const uint32_t part = std::min(frames, config_.max_block_frames);
    const Status s = process_block(in, out, part);
    if (s != Status::kOk) status = s;
    in += size_t{part} * config_.channels;
    out += size_t{part} * config_.channels;
    frames -= part;
  }
  return status;
}

}  // namespace rtbridge
