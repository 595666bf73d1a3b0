// A worker, its encoder thread and a bridge in one process, for checks that only C++ can make. Linux only.
//
//   bridge_program steady       blocks at a host's pace; then counts what any thread asked of the heap, and what the
//                               audio thread asked of locks and of system calls that can block
//   bridge_program turmoil      re-attachment, panic, resets, stalls and misses under the audio thread's feet; counts
//                               the audio thread's requests only. Also what the thread sanitizer is run on.
//   bridge_program new|lock|wait    `steady` with a planted fault on the audio thread, to show that it is found
//
// Prints "allocations=N locks=N waits=N blocks=N misses=N".
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "live_latency.h"
#include "rtbridge/bridge.h"
#include "stream/worker.h"

namespace {
std::atomic<bool> all_armed{false};
thread_local bool armed = false;
std::atomic<int> allocations{0}, locks{0}, waits{0};
}  // namespace

#if !defined(__SANITIZE_THREAD__)
static void note_allocation() {
  if (armed || all_armed.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}
static void note_release() { note_allocation(); }
#include "../programs/interposed_heap.h"

extern "C" {
int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static auto* real = reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  if (armed) locks.fetch_add(1);
  return real(mutex);
}
// Every wake-up and every sleep of the bridge goes through here.
long syscall(long number, ...) {
  static auto* real = reinterpret_cast<long (*)(long, ...)>(dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& value : a) value = va_arg(list, long);
  va_end(list);
  if (armed && !(number == SYS_futex && (a[1] & 127) == FUTEX_WAKE)) waits.fetch_add(1);
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
}
#endif

namespace {

constexpr int kRate = 48000, kBlock = 128;
volatile std::uintptr_t sink = 0;

std::shared_ptr<rtbridge::Segment> make_segment(uint32_t generation) {
  rtbridge::Geometry g;
  g.generation = generation;
  g.sample_rate_hz = kRate;
  g.max_block_frames = kBlock;
  g.channels = 2;
  g.latency = live_latency(kBlock);
  return rtbridge::Segment::create("", g);
}

void open(rtstream::Worker& worker, int id, std::shared_ptr<rtbridge::Segment> segment) {
  rtstream::SessionConfig config;
  config.id = id;
  config.kind = rtstream::Kind::kIdentity16k;
  worker.open_session(config, std::move(segment), {});
}

void sleep_us(int us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "steady";
  const bool turmoil = mode == "turmoil";
  rtstream::Worker worker(false);
  std::atomic<bool> done{false}, stalled{false};
  std::thread encoder([&] {
    int session;
    rtstream::HopTag tag;
    std::vector<float> hop;
    hop.reserve(1024);
    while (!done) {
      if (stalled) sleep_us(1000);
      if (!stalled && worker.wait_hop(10'000'000, &session, &tag, &hop))
        worker.push_latent(session, tag.epoch, hop.data());
    }
  });

  rtbridge::BridgeConfig config;
  config.sample_rate_hz = kRate;
  config.max_block_frames = kBlock;
  config.channels = 2;
  config.latency_frames = live_latency(kBlock).reported;
  config.fade_frames = live_latency(kBlock).fade;
  rtbridge::Bridge bridge(config);
  auto first = make_segment(1);
  open(worker, 1, first);
  bridge.attach(first);
  bridge.wait_ready(2'000'000'000);

  const int blocks = turmoil ? 4000 : 400;
  std::mutex mutex;
  std::thread audio([&] {
    std::vector<float> block(2 * kBlock);
    const auto play = [&](int index) {
      for (int i = 0; i < kBlock; ++i) block[2 * i] = block[2 * i + 1] = 0.25f * std::sin(0.01f * (index * kBlock + i));
      bridge.process(block.data(), block.data(), static_cast<uint32_t>(index % 7 == 0 ? 1 : kBlock));
    };
    for (int i = 0; i < blocks; ++i) {
      if (i == 50 && !turmoil) all_armed = true;  // everything has been used once
      armed = i >= 50;
      play(i);
      if (i == 100) {
        if (mode == "new") sink = reinterpret_cast<std::uintptr_t>(std::make_unique<int>(1).get());
        if (mode == "lock") const std::lock_guard<std::mutex> lock(mutex);
        if (mode == "wait") {
          uint32_t word = 0;
          rtbridge::wait_word(word, 0, 1'000'000, false);
        }
      }
      armed = false;
      // A host's pace, or in turmoil bursts and pauses.
      if (!turmoil || i % 16 == 0) sleep_us(turmoil ? 1500 : 2667);
      if (turmoil && i % 1000 == 999) bridge.reset();
    }
    all_armed = false;
    armed = false;
  });

  if (turmoil) {
    int id = 1;
    for (uint32_t generation = 2; generation < 10; ++generation) {
      sleep_us(15000);
      bridge.set(rtbridge::Param::kMix, 0.1 * generation);
      stalled = true;
      sleep_us(15000);
      stalled = false;
      bridge.set(rtbridge::Param::kPanic, 1);
      sleep_us(10000);
      if (generation % 2 == 0) worker.close_session(id);
      auto next = make_segment(generation);
      open(worker, ++id, next);
      if (generation % 3 == 0) bridge.detach();
      bridge.attach(next);
      bridge.heartbeat();
    }
  }
  audio.join();
  done = true;
  encoder.join();
  worker.stop();
  const rtbridge::BridgeStats stats = bridge.stats();
  std::printf("allocations=%d locks=%d waits=%d blocks=%d misses=%d\n", allocations.load(), locks.load(), waits.load(),
              static_cast<int>(stats.blocks), static_cast<int>(stats.misses));
  return 0;
}
