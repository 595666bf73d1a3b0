#include "stream/ensemble.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace rtstream {

using rtbridge::monotonic_ns;

namespace {
constexpr uint64_t kIdleNs = 20'000'000;
constexpr uint64_t kHeldUpNs = 1'000'000;  // nobody says when there is room: look again
}  // namespace

Ensemble::Ensemble(int number, int core, bool bounces, bool realtime)
    : number_(number), core_(core), bounces_(bounces), realtime_(realtime) {
  thread_ = std::thread([this] { run(); });
}

Ensemble::~Ensemble() {
  stop_.store(true);
  wake_.notify();
  thread_.join();
}

bool Ensemble::add(Player* player) {
  const std::lock_guard lock(control_);
  for (Seat& seat : seats_) {
    if (seat.player.load(std::memory_order_relaxed)) continue;
    seat.leaving.store(false, std::memory_order_relaxed);
    seat.player.store(player, std::memory_order_release);
    players_.fetch_add(1, std::memory_order_relaxed);
    wake_.notify();
    return true;
  }
  return false;
}

void Ensemble::remove(Player* player) {
  const std::lock_guard lock(control_);  // also: left_ has one waiter
  for (Seat& seat : seats_) {
    if (seat.player.load(std::memory_order_relaxed) != player) continue;
    seat.leaving.store(true, std::memory_order_release);
    wake_.notify();
    while (seat.player.load(std::memory_order_acquire)) {
      const uint32_t token = left_.prepare();
      if (!seat.player.load(std::memory_order_acquire)) {
        left_.cancel();
        break;
      }
      left_.wait(token, kIdleNs);
    }
    players_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
}

EnsembleStats Ensemble::stats() const noexcept {
  return {core_,
          bounces_,
          players_.load(std::memory_order_relaxed),
          batches_.load(std::memory_order_relaxed),
          chunks_.load(std::memory_order_relaxed),
          busy_ns_.load(std::memory_order_relaxed)};
}

void Ensemble::run() noexcept {
  const AudioThread here(bounces_ ? Role::kBounce : Role::kRender, number_, realtime_, core_);
  while (!stop_.load(std::memory_order_relaxed)) {
    if (play()) {
      if (!bounces_) stamina_.rest_when_tired();
      continue;
    }
    const uint32_t token = wake_.prepare();
    if (stop_.load(std::memory_order_relaxed) || play()) {
      wake_.cancel();
      continue;
    }
    wake_.wait(token, held_up_ ? kHeldUpNs : kIdleNs);
    stamina_.rested();
  }
}

bool Ensemble::play() noexcept {
  gather();
  if (ready_count_ == 0) return false;
  generate();
  return true;
}

void Ensemble::gather() noexcept {
  ready_count_ = 0;
  held_up_ = false;
  for (Seat& seat : seats_) {
    Player* const player = seat.player.load(std::memory_order_acquire);
    if (!player) continue;
    if (seat.leaving.load(std::memory_order_acquire)) {
      seat.player.store(nullptr, std::memory_order_release);
      left_.notify();
      continue;
    }
    if (player->bouncing() != bounces_) continue;
    switch (player->prepare()) {
      case Player::State::kIdle:
        break;
      case Player::State::kHeldUp:
        held_up_ = true;
        break;
      case Player::State::kReady: {
        int at = ready_count_++;
        for (; at > 0 && ready_[at - 1]->chunk().deadline_ns > player->chunk().deadline_ns; --at)
          ready_[at] = ready_[at - 1];
        ready_[at] = player;
        break;
      }
    }
  }
}

// The most urgent chunk, and in its company what goes with it at little cost, the more urgent first. Whoever is left
// behind has then become the most urgent, because deadlines move on with every chunk.
void Ensemble::generate() noexcept {
  VoiceChunk together[Voice::kMostTogether];
  Player* whose[Voice::kMostTogether];
  int count = 0, most = Voice::kMostTogether;
  const void* company = nullptr;
  for (int i = 0; i < ready_count_ && count < most; ++i) {
    for (VoiceChunk& chunk : ready_[i]->chunk().voices) {
      if (!chunk.voice || count == most) continue;
      if (count > 0 && (!company || chunk.voice->company() != company || chunk.count != together[0].count)) continue;
      if (count == 0) {
        company = chunk.voice->company();
        most = chunk.voice->most_together();
      }
      whose[count] = ready_[i];
      together[count++] = chunk;
      chunk.voice = nullptr;
    }
  }
  const uint64_t began = monotonic_ns();
  together[0].voice->generate_together(together, count);
  const uint64_t took = monotonic_ns() - began;
  batches_.fetch_add(1, std::memory_order_relaxed);
  chunks_.fetch_add(static_cast<uint64_t>(count), std::memory_order_relaxed);
  busy_ns_.fetch_add(took, std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    whose[i]->chunk().spent_ns += took / static_cast<uint64_t>(count);
    if (--whose[i]->chunk().left == 0) whose[i]->finish_chunk();
  }
}

Ensembles::Ensembles(bool realtime) {
  std::vector<int> cores = thread_plan().decoder_cores;
  if (cores.empty()) cores.push_back(-1);
  for (int i = 0; i < static_cast<int>(cores.size()); ++i) {
    live_.push_back(std::make_unique<Ensemble>(i, cores[i], false, realtime));
    bounces_.push_back(std::make_unique<Ensemble>(i, -1, true, realtime));
  }
}

Stand Ensembles::place() const {
  size_t best = 0;
  for (size_t i = 1; i < live_.size(); ++i)
    if (live_[i]->stats().players < live_[best]->stats().players) best = i;
  return {live_[best].get(), bounces_[best].get()};
}

Stand Ensembles::at(int number) const {
  if (number < 0 || number >= static_cast<int>(live_.size()))
    throw std::invalid_argument("render_thread: expected 0 to " + std::to_string(live_.size() - 1) + ", found " +
                                std::to_string(number));
  return {live_[number].get(), bounces_[number].get()};
}

std::vector<EnsembleStats> Ensembles::stats() const {
  std::vector<EnsembleStats> all;
  for (const auto* part : {&live_, &bounces_})
    for (const auto& ensemble : *part) all.push_back(ensemble->stats());
  return all;
}

}  // namespace rtstream
