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

  // [audio thread, wait-free] `step` of this network and of count - 1 others of the same decoder, whose weights are
  // read once: networks[0] is this. Each has the bits of a step alone. logits() has the results.
  virtual void step_together(Network* const* networks, int count, const float* older, const float* newer) noexcept {
    for (int i = 0; i < count; ++i) networks[i]->step(older[i], newer[i]);
  }

  // [audio thread, wait-free] Of the last step, [256].
  virtual const float* logits() const noexcept = 0;

  // [any thread] Input [R] of a layer in the last step, or null where it isn't kept in float32.
  virtual const float* layer_input(int /*layer*/) const noexcept { return nullptr; }

  // [audio thread, wait-free] Inverse of the cumulative softmax(logits / temperature) at `uniform` in [0, 1), classes
  // in order of their codes. temperature > 0.
  virtual int sample(float temperature, float uniform) noexcept = 0;

  // [audio thread, wait-free] The most probable class; the lowest one if several are.
  virtual int most_probable() noexcept = 0;
};

}  // namespace rtengine
