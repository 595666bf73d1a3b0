#include "cuda/emulation.h"

#include <ucontext.h>

#include <cstring>
#include <utility>

namespace rtcuda {

namespace {
constexpr std::size_t kStackBytes = 256 << 10;
}

struct Emulation::Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Warp warp;
  bool done = false;
};

namespace {
ucontext_t scheduler;
}
Emulation* Emulation::current_ = nullptr;

Emulation::Emulation(int teams, int blocks, int warps, int memory_bytes, bool clustered, int patience, int* failed)
    : teams_(teams), blocks_(blocks), warps_(warps), random_(emulation_options.seed) {
  block_barriers_.resize(static_cast<std::size_t>(teams * blocks));
  team_barriers_.resize(static_cast<std::size_t>(teams));
  for (int i = 0; i < teams * blocks; ++i) {
    memories_.emplace_back(new char[static_cast<std::size_t>(memory_bytes)]);
    std::memset(memories_.back().get(), 0xA5, static_cast<std::size_t>(memory_bytes));  // shared memory is not cleared
  }
  for (int team = 0; team < teams; ++team)
    for (int block = 0; block < blocks; ++block)
      for (int warp = 0; warp < warps; ++warp) {
        auto& fiber = fibers_.emplace_back(new Fiber);
        fiber->warp = {team, block, warp, memory_of(team, block), clustered, patience, failed, this};
      }
}
Emulation::~Emulation() = default;

void Emulation::start() {
  Emulation* const self = current_;
  (*self->body_)(self->running_->warp);
  self->running_->done = true;
  self->yield();
}

void Emulation::run(const Body& body) {
  body_ = &body;
  current_ = this;
  for (auto& fiber : fibers_) {
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = kStackBytes;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, &Emulation::start, 0);
  }
  std::vector<Fiber*> left;
  for (auto& fiber : fibers_) left.push_back(fiber.get());
  const bool shuffled = emulation_options.seed != 0;
  std::size_t turn = 0;
  while (!left.empty()) {
    deliver(!shuffled);
    const std::size_t at = shuffled ? random_() % left.size() : turn++ % left.size();
    running_ = left[at];
    swapcontext(&scheduler, &running_->context);
    if (running_->done) left.erase(left.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void Emulation::yield() { swapcontext(&running_->context, &scheduler); }

void Emulation::deliver(bool all) {
  if (all) {
    for (const Letter& letter : letters_) *letter.to = letter.word;
    letters_.clear();
    return;
  }
  // A random few, in random order. The same word sent twice keeps its order, as on the device.
  for (std::size_t many = letters_.empty() ? 0 : random_() % (letters_.size() + 1); many > 0; --many) {
    std::size_t at = random_() % letters_.size();
    for (std::size_t i = 0; i < at; ++i)
      if (letters_[i].to == letters_[at].to) at = i;
    *letters_[at].to = letters_[at].word;
    letters_.erase(letters_.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void Emulation::wait(Barrier& barrier, int count) {
  const int round = barrier.passed;
  if (++barrier.waiting == count) {
    barrier.waiting = 0;
    ++barrier.passed;
    return;
  }
  while (barrier.passed == round) yield();
}

void Warp::block_barrier() const {
  if (emulation_options.fault == EmulationOptions::kNoBlockBarrier) return;
  emulation->wait(emulation->block_barriers_[static_cast<std::size_t>(team * emulation->blocks_ + block)],
                  emulation->warps_);
}

void Warp::team_barrier() const {
  if (!clustered) return block_barrier();
  emulation->deliver(true);
  emulation->wait(emulation->team_barriers_[static_cast<std::size_t>(team)], emulation->blocks_ * emulation->warps_);
}

Quad Warp::peek(const float* own, const Ints& index) const {
  return load_quad(reinterpret_cast<const QuadWords*>(own), each_lane<int>([&](int i) { return index.v[i] / 4; }));
}

void Warp::send(float* own, const Ints& index, const Ints& peer, const Words& a, const Mask& wanted) const {
  for (int i = 0; i < kLanes; ++i) {
    if (!wanted.v[i]) continue;
    float* to = own;
    if (clustered) {
      const auto offset = reinterpret_cast<char*>(own) - memory;
      to = reinterpret_cast<float*>(emulation->memory_of(team, peer.v[i]) + offset);
    }
    emulation->letters_.push_back({reinterpret_cast<std::uint32_t*>(to + index.v[i]), a.v[i]});
  }
  if (emulation_options.seed == 0) emulation->deliver(true);
}

bool Warp::waits(int polls) {
  if (emulation_options.fault == EmulationOptions::kNoWaiting) return false;
  if (polls >= patience) {
    patience = 0;
    *failed = 1;
    return false;
  }
  emulation->yield();
  return true;
}

}  // namespace rtcuda
