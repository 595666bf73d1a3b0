// The bridge inside of a Python `Bridge`, for the bindings that call its audio side from threads of their own.
#pragma once
#include <atomic>
#include <stdexcept>

#include "rtbridge/bridge.h"

class NativeBridge {
 public:
  explicit NativeBridge(const rtbridge::BridgeConfig& config) : bridge(config) {}

  // The audio thread's part, by one thread at a time: a second one would tear the stream.
  class AudioRole {
   public:
    explicit AudioRole(NativeBridge& owner) : owner_(owner) {
      if (owner.in_audio_.exchange(true, std::memory_order_acquire))
        throw std::runtime_error("bridge: expected one audio thread at a time, found another inside");
    }
    ~AudioRole() { owner_.in_audio_.store(false, std::memory_order_release); }
    AudioRole(const AudioRole&) = delete;

   private:
    NativeBridge& owner_;
  };

  rtbridge::Bridge bridge;

 private:
  std::atomic<bool> in_audio_{false};
};
