#include "core/plugin_core.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/settings.h"

namespace rtplugin {
namespace {

using Id = ParameterId;
using rtbridge::Link;
using rtbridge::Param;

constexpr uint32_t kMeetServerMs = 300;        // activation waits so long for a server that is there
constexpr uint32_t kFirstSessionMs = 500;      // and so long for its session
constexpr uint32_t kFirstBlockMs = 500;        // and so long for its worker to be ready
constexpr uint32_t kBouncePatienceMs = 20000;  // a bounce waits so long for a server that is still starting
constexpr uint32_t kBlockMax = 16384;
// A build with this number above 0 tells hosts a latency that is too short, so that tests of latency can be seen to
// fail.
#if defined(RTPLUGIN_LATENCY_LIE_FRAMES)
constexpr uint32_t kLieFrames = RTPLUGIN_LATENCY_LIE_FRAMES;
#else
constexpr uint32_t kLieFrames = 0;
#endif

constexpr size_t index(Id id) { return static_cast<size_t>(id); }

struct Pass {
  Id id;
  Param param;
};
constexpr Pass kPassed[] = {{Id::kMix, Param::kMix},
                            {Id::kInputGain, Param::kInputGainDb},
                            {Id::kOutputGain, Param::kOutputGainDb},
                            {Id::kGate, Param::kGateDb},
                            {Id::kTemperature, Param::kTemperature},
                            {Id::kSeed, Param::kSeed},
                            {Id::kFallback, Param::kFallback},
                            {Id::kBypass, Param::kBypass}};

double for_bridge(Id id, double value) noexcept { return id == Id::kMix ? value / 100.0 : value; }

}  // namespace

PluginCore::PluginCore() : client_(*this) {
  for (const Parameter& p : parameters()) values_[index(p.id)].store(p.initial);
  for (auto& decoder : decoders_) decoder.store(-1);
  for (const Pass& pass : kPassed) client_.set(pass.param, for_bridge(pass.id, get(pass.id)));
  stream_.max_block_frames = 512;
  latency_.store(planned_latency());
}

PluginCore::~PluginCore() { deactivate(); }

// --- main thread ---

uint32_t PluginCore::latency_of(const rtbridge::ModelDelay& delay, double margin) const noexcept {
  return rtbridge::compute_latency(stream_.rate_hz, stream_.max_block_frames, delay, margin, jitter_ms_).reported;
}

uint32_t PluginCore::planned_latency() const {
  const std::lock_guard lock(mutex_);
  return latency_of(instruments_.at(static_cast<uint32_t>(get(Id::kInstrument))).delay, margin_ms(get(Id::kMargin)));
}

uint32_t PluginCore::latency_frames() const noexcept {
  const uint32_t frames = latency_.load(std::memory_order_acquire);
  return frames - std::min(frames, kLieFrames);
}

bool PluginCore::prepare(double sample_rate_hz, uint32_t max_block_frames) {
  if (bridge_ || !(sample_rate_hz >= 8000.0 && sample_rate_hz <= 384000.0) || max_block_frames < 1) return false;
  stream_.rate_hz = static_cast<uint32_t>(std::lround(sample_rate_hz));
  stream_.max_block_frames = std::min(max_block_frames, kBlockMax);  // longer ones are cut
  rate_hz_.store(stream_.rate_hz);
  const rtbridge::ServerAddress address = read_settings();
  jitter_ms_ = address.remote || !rtbridge::is_this_machine(address.host) ? address.jitter_ms : 0.0;
  met_ = client_.ask(address, kMeetServerMs);
  latency_.store(planned_latency(), std::memory_order_release);
  return true;
}

bool PluginCore::activate(double sample_rate_hz, uint32_t max_block_frames, uint32_t channels) {
  deactivate();
  if (channels < 1 || channels > 2 || !prepare(sample_rate_hz, max_block_frames)) return false;
  stream_.channels = channels;
  stream_.margin_ms = margin_ms(get(Id::kMargin));
  stream_.latency_frames = planned_latency();
  latency_.store(stream_.latency_frames, std::memory_order_release);
  restart_wanted_.store(false);
  unplayable_for_latency_.store(false);
  rtbridge::BridgeConfig config;
  config.sample_rate_hz = stream_.rate_hz;
  config.max_block_frames = stream_.max_block_frames;
  config.channels = channels;
  config.latency_frames = stream_.latency_frames;
  config.fade_frames = rtbridge::compute_latency(stream_.rate_hz, 1, {}, 5.0, 0.0).fade;
  bridge_ = std::make_unique<rtbridge::Bridge>(config);
  block_.assign(size_t{stream_.max_block_frames} * channels, 0.0f);
  applied_once_ = played_ = false;
  applied_decoder_ = -1;
  failed_.store(false);
  misses_.store(0);
  for (const Pass& pass : kPassed) {
    client_.set(pass.param, for_bridge(pass.id, get(pass.id)));
    bridge_->set(pass.param, for_bridge(pass.id, get(pass.id)));
  }
  offline_ = waits();
  bridge_->set_offline(offline_);
  client_.set_offline(offline_);
  client_.open(*bridge_, stream_);
  // So that the very first block is translated, and a bounce does not begin before its server.
  const uint32_t patience_ms = offline_ ? kBouncePatienceMs : met_ ? kFirstSessionMs : 0;
  if (client_.wait_connected(patience_ms, offline_)) bridge_->wait_ready(uint64_t{kFirstBlockMs} * 1'000'000);
  return true;
}

void PluginCore::deactivate() {
  if (!bridge_) return;
  client_.close();
  bridge_.reset();
  misses_.store(0);
}

std::string PluginCore::save() const {
  State state;
  for (const Parameter& p : parameters()) state.values[index(p.id)] = get(p.id);
  const std::lock_guard lock(mutex_);
  state.instruments = instruments_;
  return write_state(state);
}

bool PluginCore::load(std::string_view text, bool with_parameters, std::string& why_not) {
  const auto state = read_state(text, why_not);
  if (!state) return false;
  {
    const std::lock_guard lock(mutex_);
    instruments_ = state->instruments;
    for (auto& decoder : decoders_) decoder.store(-1, std::memory_order_relaxed);
  }
  for (const Parameter& p : parameters())
    if (with_parameters && !p.read_out && p.form != Form::kTrigger) set(p.id, state->values[index(p.id)]);
  if (!bridge_) latency_.store(planned_latency());
  client_.choose_again();
  ask_for_restart();
  return true;
}

std::string PluginCore::message() const {
  if (failed_.load()) return "the bounce broke off: the server was not there, left, or was too late; start it again";
  return client_.message();
}

std::string PluginCore::instrument_text() const { return text(Id::kInstrument, get(Id::kInstrument)); }

std::string PluginCore::text(ParameterId id, double value) const {
  const std::string plain = to_text(parameter(id), value);
  if (id == Id::kConnection && value == get(id)) {
    const std::string why = message();
    return why.empty() ? plain : plain + ": " + why;
  }
  if (id != Id::kInstrument) return plain;
  const std::lock_guard lock(mutex_);
  const Instrument& instrument = instruments_.at(static_cast<uint32_t>(conform(parameter(id), value)));
  return instrument.known() ? plain + " " + instrument.text() : plain;
}

// A longer latency than the host was told, or another margin, needs an activation.
void PluginCore::ask_for_restart() {
  if (!bridge_) return;
  const bool wanted = planned_latency() > stream_.latency_frames || margin_ms(get(Id::kMargin)) != stream_.margin_ms;
  if (wanted && !restart_wanted_.exchange(true, std::memory_order_acq_rel) && tell_news_) tell_news_();
}

// --- any thread ---

void PluginCore::set(ParameterId id, double value) noexcept {
  const Parameter& p = parameter(id);
  if (p.read_out) return;
  const double conformed = conform(p, value);
  // LV2 hands in every value with every block: only another one is news, or who was refused would ask without a pause.
  const bool news = values_[index(id)].exchange(conformed, std::memory_order_relaxed) != conformed;
  if (news && (id == Id::kInstrument || id == Id::kMargin)) client_.choose_again();
}

double PluginCore::get(ParameterId id) const noexcept {
  switch (id) {
    case Id::kLatency:
      return 1000.0 * latency_.load(std::memory_order_relaxed) / rate_hz_.load(std::memory_order_relaxed);
    case Id::kMisses:
      return conform(parameter(id), static_cast<double>(misses_.load(std::memory_order_relaxed)));
    case Id::kLoad:
      return conform(parameter(id), 100.0 * static_cast<double>(client_.load()));
    case Id::kConnection:
      break;
    default:
      return values_[index(id)].load(std::memory_order_relaxed);
  }
  const auto shown = [](Connection c) { return static_cast<double>(c); };
  if (failed_.load(std::memory_order_relaxed)) return shown(Connection::kBounceFailed);
  switch (client_.link()) {
    case Link::kIdle:
      return shown(Connection::kInactive);
    case Link::kNoServer:
      return shown(Connection::kNoServer);
    case Link::kConnecting:
      return shown(Connection::kConnecting);
    case Link::kConnected:
      return shown(Connection::kConnected);
    case Link::kUnplayable:
      return shown(unplayable_for_latency_.load(std::memory_order_relaxed) ? Connection::kRestartNeeded
                                                                           : Connection::kUnplayable);
    case Link::kRefused:
      break;
  }
  return shown(Connection::kRefused);
}

rtbridge::BridgeStats PluginCore::stats() const noexcept {
  return bridge_ ? bridge_->stats() : rtbridge::BridgeStats{};
}

// --- control thread ---

void PluginCore::learn(const rtbridge::Served& served) {
  {
    const std::lock_guard lock(mutex_);
    if (!instruments_.learn(served)) return;
  }
  if (tell_news_) tell_news_();
}

bool PluginCore::choose(const rtbridge::Served& served, Choice& choice, std::string& why_not) {
  ask_for_restart();
  const auto number = static_cast<uint32_t>(get(Id::kInstrument));
  const std::lock_guard lock(mutex_);
  unplayable_for_latency_.store(false);
  const auto found = instruments_.find(number, served, why_not);
  if (!found) return false;
  const uint32_t least = latency_of(instruments_.at(number).delay, stream_.margin_ms);
  if (least > stream_.latency_frames) {
    unplayable_for_latency_.store(true);
    why_not = instruments_.at(number).text() + " needs a latency of " + std::to_string(least) +
              " frames, the host was told " + std::to_string(stream_.latency_frames) + ": activate the plugin anew";
    return false;
  }
  choice = {found->model->name, instruments_.at(number).decoder, found->decoder_index};
  std::string ignored;
  for (uint32_t i = 0; i < kInstrumentSlots; ++i) {
    const auto other = instruments_.at(i).known() ? instruments_.find(i, served, ignored) : std::nullopt;
    decoders_[i].store(other && other->model == found->model ? static_cast<int16_t>(other->decoder_index) : int16_t{-1},
                       std::memory_order_relaxed);
  }
  return true;
}

// --- audio thread ---

bool PluginCore::waits() const noexcept {
  return host_offline_.load(std::memory_order_relaxed) || get(Id::kBounce) != 0.0;
}

void PluginCore::pass_on(Param param, double value) noexcept {
  bridge_->set_live(param, value);
  client_.set(param, value);
}

void PluginCore::apply_parameters() noexcept {
  const auto changed = [&](Id id, double& value) {
    value = get(id);
    const bool is = !applied_once_ || value != applied_[index(id)];
    applied_[index(id)] = value;
    return is;
  };
  double value = 0.0;
  const double seed_before = applied_[index(Id::kSeed)];
  for (const Pass& pass : kPassed)
    if (changed(pass.id, value)) pass_on(pass.param, for_bridge(pass.id, value));
  // The seed counts from the start of a stream: one that has not begun is asked for anew.
  if (applied_once_ && !played_ && applied_[index(Id::kSeed)] != seed_before) bridge_->reset();
  const bool was_panicking = applied_once_ && applied_[index(Id::kPanic)] != 0.0;
  if (changed(Id::kPanic, value) && value != 0.0 && !was_panicking) bridge_->set_live(Param::kPanic, 1.0);
  const int16_t decoder = decoders_[static_cast<size_t>(get(Id::kInstrument))].load(std::memory_order_relaxed);
  if (decoder >= 0 && decoder != applied_decoder_) {
    applied_decoder_ = decoder;
    pass_on(Param::kDecoder, decoder);
  }
  applied_once_ = true;
}

void PluginCore::reset() noexcept {
  failed_.store(false, std::memory_order_relaxed);
  if (!bridge_ || !played_) return;
  bridge_->reset();
  played_ = false;
}

// A bounce begins with its server, or not at all.
bool PluginCore::ready_to_bounce() noexcept {
  if (played_ || client_.link() == Link::kConnected) return true;
  return client_.wait_connected(kBouncePatienceMs, true);
}

Result PluginCore::process(const float* const* in, float* const* out, uint32_t frames) noexcept {
  const uint32_t channels = stream_.channels;
  if (!bridge_) {
    for (uint32_t c = 0; c < channels; ++c) std::fill_n(out[c], frames, 0.0f);
    return Result::kOk;
  }
  const bool offline = waits();
  if (offline != offline_) {
    offline_ = offline;
    bridge_->set_offline(offline);
    client_.set_offline(offline);
    if (offline)
      reset();
    else
      failed_.store(false, std::memory_order_relaxed);
  }
  apply_parameters();
  if (frames == 0) return Result::kOk;
  if (offline && !failed_.load(std::memory_order_relaxed) && !ready_to_bounce())
    failed_.store(true, std::memory_order_relaxed);
  played_ = true;

  for (uint32_t at = 0; at < frames;) {
    const uint32_t part = std::min(frames - at, stream_.max_block_frames);
    for (uint32_t c = 0; c < channels; ++c)
      for (uint32_t i = 0; i < part; ++i) block_[size_t{i} * channels + c] = in[c][at + i];
    if (!failed_.load(std::memory_order_relaxed) &&
        bridge_->process(block_.data(), block_.data(), part) != rtbridge::Status::kOk)
      failed_.store(true, std::memory_order_relaxed);
    if (failed_.load(std::memory_order_relaxed)) std::fill_n(block_.data(), size_t{part} * channels, 0.0f);
    for (uint32_t c = 0; c < channels; ++c)
      for (uint32_t i = 0; i < part; ++i) out[c][at + i] = block_[size_t{i} * channels + c];
    at += part;
  }
  misses_.store(bridge_->misses(), std::memory_order_relaxed);
  return failed_.load(std::memory_order_relaxed) ? Result::kFailed : Result::kOk;
}

}  // namespace rtplugin
