// Bridge, link, hub and session in one program, for the thread sanitizer: a sealed loopback over 127.0.0.1, offline, so
// that it depends on no speed, while another thread reads statistics and sessions come and go.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "rtbridge/bridge.h"
#include "rtbridge/remote_link.h"
#include "stream/remote_hub.h"
#include "stream/worker.h"

int main() {
  using namespace rtbridge;
  constexpr int kSession = 5, kBlock = 128, kBlocks = 300, kLatency = 3968, kJitter = 960;
  Geometry geometry;
  geometry.session = kSession;
  geometry.max_block_frames = kBlock;
  geometry.transport = RT_TRANSPORT_REMOTE;
  geometry.latency = {kBlock, 0, 0, 0, 2880, kJitter, kLatency, 48};
  BridgeConfig config;
  config.latency_frames = kLatency;

  rtstream::Worker worker(false);
  rtstream::RemoteHub hub("127.0.0.1", 0, "key", false);
  Bridge bridge(config);
  bridge.set_offline(true);
  long wrong = 0, blocks = 0;
  for (int round = 0; round < 3; ++round) {
    auto server = Segment::create("", geometry), client = Segment::create("", geometry);
    rtstream::SessionConfig session;
    session.id = kSession;
    session.kind = rtstream::Kind::kLoopback;
    worker.open_session(session, server, {});
    hub.add(kSession, server, kJitter);
    RemoteLink link(client, "127.0.0.1", hub.port(), kSession, "key", kJitter);
    bridge.attach(client);
    bridge.reset();
    std::atomic<bool> done{false};
    std::thread watcher([&] {
      while (!done) {
        (void)link.stats();
        (void)hub.stats();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    float in[kBlock], out[kBlock];
    for (int b = 0; b < kBlocks; ++b, ++blocks) {
      for (int i = 0; i < kBlock; ++i) in[i] = static_cast<float>(b * kBlock + i + 1);
      if (bridge.process(in, out, kBlock) != Status::kOk) ++wrong;
      for (int i = 0; i < kBlock; ++i) {
        const int n = b * kBlock + i - kLatency;
        if (out[i] != (n < 0 ? 0.0f : static_cast<float>(n + 1))) ++wrong;
      }
    }
    done = true;
    watcher.join();
    bridge.detach();
    bridge.process(in, out, kBlock);
    link.stop();
    hub.remove(kSession);
    worker.close_session(kSession);
  }
  std::printf("blocks=%ld wrong=%ld\n", blocks, wrong);
  return wrong != 0;
}
