// One slot's network: the decoder's arithmetic with its histories, sample by sample. The scalar reference and the
// vector kernels are two implementations of it; everything stateful about sampling stays in Slot.
#pragma once

namespace rtengine {

class Network {
 public:
  virtual ~Network() = default;

  // [control thread or audio thread, wait-free] Back to the state before the first sample: every history zero.
  virtual void reset() noexcept = 0;

  // [audio thread, wait-free] latent [L]: condition every layer and the output on it until the next hop.
  virtual void begin_hop(const float* latent) noexcept = 0;

  // [audio thread, wait-free] Logits [256] of the next sample, given the network inputs of the two before it
  // (`older` is at t - 2, `newer` at t - 1). Valid until the next step.
  virtual const float* step(float older, float newer) noexcept = 0;

  // [audio thread, wait-free] Inverse of the cumulative softmax(logits / temperature) at `uniform` in [0, 1), classes
  // in order of their codes. temperature > 0.
  virtual int sample(float temperature, float uniform) noexcept = 0;

  // [audio thread, wait-free] The most probable class; the lowest one if several are.
  virtual int most_probable() noexcept = 0;
};

}  // namespace rtengine
