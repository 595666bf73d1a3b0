// One thread a decoder core that renders all the sessions placed there: at each step the chunks of up to
// most_together() sessions that play the same decoder are generated together, so that its weights are read once for all
// of them.
//
// A thread a session could not do that. On one core only one of them runs at a time, so none ever meets another; and
// to make them meet would cost two context switches a chunk. Here nothing is handed over: a session whose latent
// arrives joins at the next chunk, a lone session's chunks follow one another at once.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "rtbridge/wake.h"
#include "stream/audio_thread.h"
#include "stream/voice.h"

namespace rtstream {

// A session as its ensemble sees it. Everything but `wants` happens on the ensemble's thread.
class Player {
 public:
  enum class State {
    kIdle,    // nothing to do until the ensemble is woken
    kHeldUp,  // its output has no room
    kReady,   // chunk() is to be generated
  };
  struct Chunk {
    VoiceChunk voices[2];  // those done have no voice any more
    int left = 0;          // voices to be generated
    uint64_t deadline_ns = 0;
    uint64_t spent_ns = 0;  // this player's share of the time that generating took
  };

  virtual ~Player() = default;
  // [any ensemble thread] Whether it plays with the bounces now. It changes only inside prepare().
  virtual bool bouncing() const noexcept = 0;
  virtual State prepare() noexcept = 0;
  virtual void finish_chunk() noexcept = 0;  // all of the chunk is there
  Chunk& chunk() noexcept { return chunk_; }

 protected:
  Chunk chunk_;
};

struct EnsembleStats {
  int core;  // -1: any
  bool bounces;
  int players;
  uint64_t batches, chunks;  // chunks / batches: how many were generated together
  uint64_t busy_ns;
};

class Ensemble {
 public:
  static constexpr int kMostPlayers = 64;

  // bounces: for offline sessions, at ordinary priority on any core. core: negative for any.
  Ensemble(int number, int core, bool bounces, bool realtime);
  ~Ensemble();
  Ensemble(const Ensemble&) = delete;
  Ensemble& operator=(const Ensemble&) = delete;

  bool add(Player* player);                 // [control thread] false: no seat is free
  void remove(Player* player);              // [control thread] once it returns, the player is left alone
  void wake() noexcept { wake_.notify(); }  // [any thread, wait-free] a player may have something to do
  EnsembleStats stats() const noexcept;     // [any thread]

 private:
  struct Seat {
    std::atomic<Player*> player{nullptr};
    std::atomic<bool> leaving{false};
  };

  void run() noexcept;
  bool play() noexcept;  // one batch; false: nobody was ready
  void gather() noexcept;
  void generate() noexcept;

  const int number_, core_;
  const bool bounces_, realtime_;
  std::mutex control_;  // between control threads
  std::array<Seat, kMostPlayers> seats_;
  rtbridge::LocalWake wake_;  // its thread sleeps on it
  rtbridge::LocalWake left_;  // remove() sleeps on it
  std::atomic<bool> stop_{false};
  std::atomic<int> players_{0};
  std::atomic<uint64_t> batches_{0}, chunks_{0}, busy_ns_{0};

  // Its thread's.
  std::array<Player*, kMostPlayers> ready_{};  // by deadline
  int ready_count_ = 0;
  bool held_up_ = false;
  Stamina stamina_;

  std::thread thread_;
};

// Where a session plays: live, or among the bounces while its client is offline.
struct Stand {
  Ensemble* live = nullptr;
  Ensemble* bounces = nullptr;
};

// The ensembles of a worker, two a decoder core.
class Ensembles {
 public:
  explicit Ensembles(bool realtime);  // cores from thread_plan()

  Stand place() const;         // [control thread] on the core with the fewest players
  Stand at(int number) const;  // [control thread] throws std::invalid_argument
  std::vector<EnsembleStats> stats() const;

 private:
  std::vector<std::unique_ptr<Ensemble>> live_, bounces_;  // [cores]
};

}  // namespace rtstream
