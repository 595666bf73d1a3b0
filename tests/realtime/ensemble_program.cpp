// Sessions that are rendered together, in one program, for assertions that no other language can make and for the
// thread sanitizer. Voices are counterfeit: each sample is a hash of all that its stream has seen, so a voice that was
// generated twice, too late, or by two threads at once shows in every sample after.
//
// usage: ensemble_program order      players of an ensemble: who goes first, and with whom
//        ensemble_program bits       sessions in company against the same sessions alone
//        ensemble_program turmoil    sessions come, go, begin anew and change ensembles while others play
//        ensemble_program late       a session with little to spare, after its encoder has stood still
//        ensemble_program tireless   an ensemble that never runs out of work, under the limit that rtkit demands
//        ensemble_program spinning   a thread that takes no rest, under the same limit: the kernel ends the program
// Prints "name=N name=N ...".
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "live_latency.h"
#include "rtbridge/bridge.h"
#include "stream/worker.h"

namespace {

using namespace rtstream;

constexpr int kRate = 48000, kBlock = 128, kLatent = 4, kHop = 160;
std::atomic<int> mixed{0}, torn{0}, largest{0};

void sleep_us(int us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

class FakeVoice final : public Voice {
 public:
  explicit FakeVoice(const void* company) : company_(company) {}
  int latent_size() const noexcept override { return kLatent; }
  void reset(uint64_t seed) noexcept override { state_ = seed + reinterpret_cast<uintptr_t>(company_) % 7919; }
  void set_temperature(float) noexcept override {}
  void begin_hop(const float* latent) noexcept override {
    for (int i = 0; i < kLatent; ++i) {
      uint32_t bits;
      std::memcpy(&bits, latent + i, sizeof bits);
      mix(bits);
    }
  }
  void generate(float* samples, int count) noexcept override {
    if (in_use_.exchange(true)) torn.fetch_add(1);
    for (int i = 0; i < count; ++i) {
      mix(1);
      samples[i] = static_cast<float>(state_ >> 40) * 0x1p-24f - 0.5f;
    }
    in_use_.store(false);
  }
  const void* company() const noexcept override { return company_; }
  void generate_together(const VoiceChunk* chunks, int count) noexcept override {
    if (count > largest.load()) largest.store(count);
    if (count < 1 || count > most_together() || chunks[0].voice != this) mixed.fetch_add(1);
    for (int i = 0; i < count; ++i)
      if (chunks[i].voice->company() != company_ || chunks[i].count != chunks[0].count) mixed.fetch_add(1);
    // As long as a network would take, so that others fall due meanwhile.
    const uint64_t until = rtbridge::monotonic_ns() + 30'000u + 5'000u * static_cast<uint64_t>(count);
    while (rtbridge::monotonic_ns() < until) {
    }
    Voice::generate_together(chunks, count);
  }

 private:
  void mix(uint64_t value) noexcept { state_ = (state_ ^ value) * 6364136223846793005u + 1442695040888963407u; }
  const void* company_;
  uint64_t state_ = 0;
  std::atomic<bool> in_use_{false};
};

const int kCompanies[3] = {1, 2, 3};

std::vector<std::unique_ptr<Voice>> voices() {
  std::vector<std::unique_ptr<Voice>> all;
  for (const int& company : kCompanies) all.push_back(std::make_unique<FakeVoice>(&company));
  return all;
}

// --- order ---

class FakePlayer final : public Player {
 public:
  FakePlayer(const void* company, uint64_t deadline_ns, int chunks) : voice_(company), chunks_(chunks) {
    chunk_.deadline_ns = deadline_ns;
  }
  bool bouncing() const noexcept override { return false; }
  State prepare() noexcept override {
    if (!go.load() || played == chunks_) return State::kIdle;
    if (chunk_.left == 0) {
      chunk_.voices[0] = {&voice_, samples_, 16};
      chunk_.left = 1;
    }
    return State::kReady;
  }
  void finish_chunk() noexcept override {
    ++played;
    chunk_.deadline_ns += 1'000'000;
    ended = ++clock;
    if (on_chunk) on_chunk();
  }
  static inline std::atomic<bool> go{false};
  static inline std::atomic<int> clock{0};
  std::atomic<int> played{0}, ended{0};
  void (*on_chunk)() = nullptr;

 private:
  FakeVoice voice_;
  int chunks_;
  float samples_[16];
};

std::vector<std::unique_ptr<FakePlayer>> players;
std::atomic<int> behind{0};

// Of the twelve that play the same decoder with the same deadline none may fall more than a chunk behind: the batches
// hold eight.
void measure_behind() {
  int least = 1 << 20, most = 0;
  for (int i = 0; i < 12; ++i) {
    least = std::min(least, players[i]->played.load());
    most = std::max(most, players[i]->played.load());
  }
  if (most - least > behind.load()) behind.store(most - least);
}

int order() {
  constexpr int kChunks = 40;
  Ensemble ensemble(0, -1, false, false);
  for (int i = 0; i < 12; ++i) players.push_back(std::make_unique<FakePlayer>(&kCompanies[0], 1'000'000'000, kChunks));
  players.push_back(std::make_unique<FakePlayer>(&kCompanies[1], 0, kChunks));                  // due first
  players.push_back(std::make_unique<FakePlayer>(&kCompanies[1], uint64_t{1} << 62, kChunks));  // due last, in company
  players.push_back(std::make_unique<FakePlayer>(&kCompanies[2], uint64_t{1} << 62, kChunks));  // due last, alone
  for (int i = 0; i < 12; ++i) players[static_cast<size_t>(i)]->on_chunk = measure_behind;
  for (auto& player : players) ensemble.add(player.get());
  FakePlayer::go = true;
  ensemble.wake();
  for (auto& player : players)
    while (player->played < kChunks) sleep_us(200);
  const EnsembleStats stats = ensemble.stats();
  for (auto& player : players) ensemble.remove(player.get());
  int last_live = 0;
  for (int i = 0; i < 12; ++i) last_live = std::max(last_live, players[i]->ended.load());
  std::printf(
      "chunks=%d batches=%d largest=%d mixed=%d behind=%d first_ended=%d company_ended=%d alone_after=%d left=%d\n",
      static_cast<int>(stats.chunks), static_cast<int>(stats.batches), largest.load(), mixed.load(), behind.load(),
      players[12]->ended.load(), players[13]->ended.load(), static_cast<int>(players[14]->ended > last_live),
      ensemble.stats().players);
  return 0;
}

// --- sessions ---

// A worker with an encoder: the latent is the first values of the hop.
class Serving {
 public:
  Serving() : worker(false), encoder_([this] { encode(); }) {}
  ~Serving() {
    done_ = true;
    encoder_.join();
    worker.stop();
  }
  std::shared_ptr<rtbridge::Segment> open(int id, uint64_t seed) {
    rtbridge::Geometry g;
    g.generation = static_cast<uint32_t>(id);
    g.sample_rate_hz = kRate;
    g.max_block_frames = kBlock;
    g.channels = 1;
    g.latency = live_latency(kBlock);
    auto segment = rtbridge::Segment::create("", g);
    SessionConfig config;
    config.id = id;
    config.kind = Kind::kModel;
    config.hop_samples = kHop;
    config.seed = seed;
    worker.open_session(config, segment, voices());
    return segment;
  }
  Worker worker;

 private:
  void encode() {
    int session;
    HopTag tag;
    std::vector<float> hop;
    while (!done_)
      if (worker.wait_hop(10'000'000, &session, &tag, &hop)) worker.push_latent(session, tag.epoch, hop.data());
  }
  std::atomic<bool> done_{false};
  std::thread encoder_;
};

std::unique_ptr<rtbridge::Bridge> client(const std::shared_ptr<rtbridge::Segment>& segment, bool offline) {
  rtbridge::BridgeConfig config;
  config.sample_rate_hz = kRate;
  config.max_block_frames = kBlock;
  config.channels = 1;
  config.latency_frames = live_latency(kBlock).reported;
  config.fade_frames = live_latency(kBlock).fade;
  auto bridge = std::make_unique<rtbridge::Bridge>(config);
  bridge->set_offline(offline);
  bridge->set_offline_deadline_ms(60'000);
  bridge->attach(segment);
  return bridge;
}

float tone(int who, int frame) { return 0.3f * std::sin(0.002f * static_cast<float>((who + 3) * frame)); }

// What client `who` hears offline.
std::vector<float> listen(Serving& serving, int who, int blocks) {
  auto bridge = client(serving.open(100 + who, static_cast<uint64_t>(who)), true);
  std::vector<float> heard(static_cast<size_t>(blocks * kBlock));
  bridge->set(rtbridge::Param::kDecoder, who % 3);
  if (!bridge->wait_ready(10'000'000'000)) return {};
  for (int block = 0; block < blocks; ++block) {
    float* frames = heard.data() + block * kBlock;
    for (int i = 0; i < kBlock; ++i) frames[i] = tone(who, block * kBlock + i);
    if (bridge->process(frames, frames, kBlock) != rtbridge::Status::kOk) return {};
  }
  serving.worker.close_session(100 + who);
  return heard;
}

int bits() {
  constexpr int kClients = 10, kBlocks = 120;
  std::vector<std::vector<float>> alone, together(kClients);
  {
    Serving serving;
    for (int i = 0; i < kClients; ++i) alone.push_back(listen(serving, i, kBlocks));
  }
  Serving serving;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i)
    threads.emplace_back([&, i] { together[static_cast<size_t>(i)] = listen(serving, i, kBlocks); });
  for (std::thread& thread : threads) thread.join();
  int different = 0, empty = 0, same_as_first = 0;
  for (size_t i = 0; i < kClients; ++i) {
    different += alone[i] != together[i];
    empty += alone[i].empty();
    same_as_first += i > 0 && alone[i] == alone[0];
  }
  uint64_t batches = 0, chunks = 0, live = 0;
  for (const EnsembleStats& stats : serving.worker.ensembles()) {
    if (stats.bounces)
      batches += stats.batches, chunks += stats.chunks;
    else
      live += stats.chunks;
  }
  std::printf(
      "different=%d empty=%d same_as_first=%d batches=%d chunks=%d live_chunks=%d largest=%d mixed=%d torn=%d\n",
      different, empty, same_as_first, static_cast<int>(batches), static_cast<int>(chunks), static_cast<int>(live),
      largest.load(), mixed.load(), torn.load());
  return 0;
}

int turmoil() {
  constexpr int kClients = 6, kRounds = 12;
  Serving serving;
  std::atomic<int> closed{0}, heard{0};
  std::atomic<bool> watching{true};
  std::thread watcher([&] {
    while (watching) {
      for (const int id : serving.worker.sessions()) {
        SessionStats stats;
        serving.worker.stats(id, &stats);
      }
      serving.worker.ensembles();
      audio_threads();
      sleep_us(500);
    }
  });
  std::vector<std::thread> threads;
  for (int who = 0; who < kClients; ++who)
    threads.emplace_back([&, who] {
      for (int round = 0; round < kRounds; ++round) {
        const int id = 1 + who * kRounds + round;
        auto bridge = client(serving.open(id, 1), false);
        float frames[kBlock];
        const int blocks = 20 + 7 * ((who + round) % 5);
        for (int block = 0; block < blocks; ++block) {
          for (int i = 0; i < kBlock; ++i) frames[i] = tone(who, block * kBlock + i);
          if (block % 8 == 3) bridge->set(rtbridge::Param::kDecoder, (block + who) % 3);
          if (block == 9 && round % 3 == 1) bridge->reset();
          bridge->set_offline(block > 12 && (block / 4 + who) % 2 == 0);
          if (bridge->process(frames, frames, kBlock) == rtbridge::Status::kOk) heard.fetch_add(1);
          if (!bridge->offline()) sleep_us(200);
        }
        serving.worker.close_session(id);  // with hops queued, latents waiting, a batch under way
        closed.fetch_add(1);
      }
    });
  for (std::thread& thread : threads) thread.join();
  watching = false;
  watcher.join();
  int players_left = 0;
  uint64_t live = 0, bounced = 0;
  for (const EnsembleStats& stats : serving.worker.ensembles()) {
    players_left += stats.players;
    (stats.bounces ? bounced : live) += stats.chunks;
  }
  std::printf("closed=%d heard=%d players_left=%d live_chunks=%d bounced_chunks=%d mixed=%d torn=%d\n", closed.load(),
              static_cast<int>(heard > 0), players_left, static_cast<int>(live), static_cast<int>(bounced),
              mixed.load(), torn.load());
  return 0;
}

// --- recovery ---

// A tone by its own time, for which it takes most of the time that it plays for.
class SlowVoice final : public Voice {
 public:
  explicit SlowVoice(std::atomic<int>* chunks) : chunks_(chunks) {}
  int latent_size() const noexcept override { return kLatent; }
  void reset(uint64_t) noexcept override { sample_ = 0; }
  void set_temperature(float) noexcept override {}
  void begin_hop(const float*) noexcept override {}
  void generate(float* samples, int count) noexcept override {
    const uint64_t until = rtbridge::monotonic_ns() + 700'000;
    for (int i = 0; i < count; ++i) samples[i] = 0.5f * std::sin(kStep * static_cast<float>(sample_++));
    while (rtbridge::monotonic_ns() < until) {
    }
    chunks_->fetch_add(1);
  }
  static constexpr float kStep = 0.05f;  // a sample

 private:
  std::atomic<int>* chunks_;
  int sample_ = 0;
};

int late() {
  constexpr int kBefore = 60, kStalled = 30, kAfter = 120;  // blocks
  std::atomic<int> chunks{0};
  std::atomic<bool> stalled{false}, done{false};
  Worker worker(false);
  rtbridge::Geometry g;
  g.generation = 1;
  g.sample_rate_hz = kRate;
  g.max_block_frames = kBlock;
  g.channels = 1;
  g.latency = live_latency(kBlock);
  const auto segment = rtbridge::Segment::create("", g);
  SessionConfig config;
  config.id = 1;
  config.kind = Kind::kModel;
  config.hop_samples = kHop;
  std::vector<std::unique_ptr<Voice>> voices;
  voices.push_back(std::make_unique<SlowVoice>(&chunks));
  worker.open_session(config, segment, std::move(voices));
  int hops = 0;
  std::thread encoder([&] {
    int session;
    HopTag tag;
    std::vector<float> hop;
    while (!done) {
      while (stalled && !done) sleep_us(200);
      if (worker.wait_hop(5'000'000, &session, &tag, &hop)) hops += worker.push_latent(1, tag.epoch, hop.data());
    }
  });
  auto bridge = client(segment, false);
  bridge->set(rtbridge::Param::kFallback, RT_FALLBACK_SILENCE);
  bridge->wait_ready(10'000'000'000);
  const uint64_t start = rtbridge::monotonic_ns();
  float largest_step = 0.0f, level = 0.0f, before = 0.0f;
  for (int block = 0; block < kBefore + kStalled + kAfter; ++block) {
    stalled = block >= kBefore && block < kBefore + kStalled;
    float frames[kBlock] = {};
    frames[0] = 0.1f;  // digital silence would not begin a stream
    while (rtbridge::monotonic_ns() - start < uint64_t{kBlock} * 1'000'000'000u / kRate * static_cast<uint64_t>(block))
      sleep_us(100);
    bridge->process(frames, frames, kBlock);
    for (const float frame : frames) {
      largest_step = std::max(largest_step, std::abs(frame - before));
      level = std::max(level, std::abs(frame));
      before = frame;
    }
  }
  const rtbridge::BridgeStats stats = bridge->stats();
  done = true;
  encoder.join();
  std::printf("misses=%d epochs=%d hops=%d chunks=%d level_percent=%d step_permille=%d\n",
              static_cast<int>(stats.misses), static_cast<int>(stats.epochs), hops, chunks.load(),
              static_cast<int>(100.0f * level), static_cast<int>(1000.0f * largest_step));
  worker.stop();
  return 0;
}

// --- endurance ---

constexpr rlim_t kLongestRunUs = 200'000;  // rtkit's
constexpr int kEnduranceMs = 800;

bool limit_run_time() {
  const rlimit limit{kLongestRunUs, kLongestRunUs};
  return setrlimit(RLIMIT_RTTIME, &limit) == 0;
}

bool realtime_here() {
  sched_param parameters{};
  return sched_getscheduler(0) == SCHED_OTHER && [&] {
    parameters.sched_priority = 1;
    const bool granted = sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
    parameters.sched_priority = 0;
    sched_setscheduler(0, SCHED_OTHER, &parameters);
    return granted;
  }();
}

int tireless() {
  const int granted = realtime_here() && limit_run_time();
  Ensemble ensemble(0, -1, false, true);
  FakePlayer player(&kCompanies[0], 1, 1 << 30);
  ensemble.add(&player);
  FakePlayer::go = true;
  ensemble.wake();
  sleep_us(kEnduranceMs * 1000);
  const EnsembleStats stats = ensemble.stats();
  ensemble.remove(&player);
  std::printf("granted=%d busy_ms=%d played=%d\n", granted, static_cast<int>(stats.busy_ns / 1'000'000),
              player.played.load());
  return 0;
}

int spinning() {
  const int granted = realtime_here() && limit_run_time();
  std::thread thread([] {
    const AudioThread here(Role::kRender, 0, true);
    const uint64_t until = rtbridge::monotonic_ns() + uint64_t{kEnduranceMs} * 1'000'000;
    while (rtbridge::monotonic_ns() < until) {
    }
  });
  thread.join();
  std::printf("granted=%d\n", granted);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "order") return order();
  if (mode == "bits") return bits();
  if (mode == "turmoil") return turmoil();
  if (mode == "late") return late();
  if (mode == "tireless") return tireless();
  if (mode == "spinning") return spinning();
  return 2;
}
