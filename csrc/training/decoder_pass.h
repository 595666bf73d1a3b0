// One decoder's training pass on the CPU: losses of teacher-forced codes, and their gradients, over whole segments. The
// layers of a stretch of time are computed one after the other while they lie in the cache, where PyTorch writes every
// intermediate result of every layer to memory.
//
// B segments of T samples, H hops; R residual and S skip channels, N layers. Channels lie side by side, time in rows.
#pragma once

#include <cstdint>
#include <vector>

#include "training/kernels.h"

namespace rttraining {

struct PassShape {
  int r = 0, s = 0, hop = 0, batch = 0, samples = 0;
  std::vector<int> dilations;  // of the N layers

  int layers() const { return static_cast<int>(dilations.size()); }
  int hops() const { return (samples + hop - 1) / hop; }

  // Throws std::invalid_argument naming what doesn't fit.
  void validate(const Kernels& kernels) const;
};

// The decoder's weights, or their gradients, in the layout of the PyTorch module. Biases of gated convolutions and of
// the output are part of the conditioning.
template <class T>
struct PassWeights {
  struct Layer {
    T *dilated, *residual, *residual_bias, *skip, *skip_bias;  // [2R, R, 2], [R, R], [R], [S, R], [S]
  };
  T *input, *input_bias, *input_skip, *input_skip_bias;  // [R, 2], [R], [S, R], [S]
  std::vector<Layer> layers;
  T *output, *logits, *logits_bias;  // [S, S], [256, S], [256]
};

// What the latents add: to the pre-activations of each layer [N, B, H, 2R] and to the output [B, H, S].
template <class T>
struct Conditioning {
  T *layers, *output;
};

// What logits follow from.
struct PassInputs {
  PassWeights<const float> weights;
  Conditioning<const float> conditioning;
  const float* past;   // network inputs [B, T], shifted by one in here
  const float* ahead;  // [B, T] or null: of a decoder with linear prediction what is predicted, not shifted
};

class DecoderPass {
 public:
  // Throws std::invalid_argument, or std::bad_alloc, as the first `forward` may, which makes room for what it keeps.
  DecoderPass(PassShape shape, const Kernels& kernels);

  const PassShape& shape() const noexcept { return shape_; }

  // losses [B, T]: cross-entropy, in nats, of codes [B, T] (with linear prediction of classes), or of distributions
  // [B, T, 256] that are wanted. Keeps what `backward` needs.
  void forward(const PassInputs& inputs, const std::uint8_t* codes, float* losses);
  void forward(const PassInputs& inputs, const float* wanted, float* losses);

  // Adds to `gradients` those of the last `forward`, once. dlosses [B, T]. Throws std::logic_error without one.
  void backward(const PassWeights<const float>& weights, const float* dlosses, const PassWeights<float>& gradients,
                Conditioning<float> dconditioning);

  // codes [B, T]: drawn from what `forward` would say, each with its number in [0, 1) of uniform [B, T].
  void draw(const PassInputs& inputs, const float* uniform, std::uint8_t* codes);

  // logits [B, T, 256].
  void logits(const PassInputs& inputs, float* logits);

 private:
  struct Stretch {
    int segment, first, count;  // samples
    bool kept;                  // for `backward`; else only what the next stretch needs of it
  };

  void pack(const PassWeights<const float>& weights);
  void take_inputs(const float* past, const float* ahead);
  void make_room_for_all();
  void move_on(const Stretch& at);
  void run(const Stretch& at, Conditioning<const float> conditioning);
  // Runs every stretch, each followed by finish(logits [count, 256], place of the first sample, count).
  template <class Finish>
  void each_logits(const PassInputs& inputs, bool kept, const Finish& finish);

  // Where a stretch's first row lies: of a layer's input; of an activation [N, B, T, R]; of one [B, T, columns].
  float* x(int layer, const Stretch& at);
  float* of_layer(std::vector<float>& rows, int layer, const Stretch& at);
  float* of_samples(std::vector<float>& rows, int columns, const Stretch& at);

  PassShape shape_;
  const Kernels& kernels_;
  int longest_;                // dilation: so many rows of zeros come before each segment
  std::vector<float> inputs_;  // [B, T, 2]: of the sample before the last or what is predicted; of the last
  std::vector<float> x_;       // [N, B, longest + T, R]: input of each layer
  std::vector<float> recent_;  // [N, longest + stretch, R]: the same of stretches that aren't kept
  // Of a stretch, from the first `forward` on of all.
  std::vector<float> gates_, contents_;  // [N, B, T, R]
  std::vector<float> skip_, hidden_;     // [B, T, S], after their rectifiers
  std::vector<float> logit_rows_;        // [B, T, 256]; after `forward` the gradients of the losses
  std::vector<float> input_, input_skip_, skip_bias_, output_, logits_, logits_bias_;
  struct Layer {
    std::vector<float> past, now, residual, residual_bias, skip;  // [R, 2R], [R, 2R], [R, R], [R], [R, S]
    std::vector<float> past_back, now_back;                       // [2R, R]
  };
  std::vector<Layer> layers_;
  std::vector<float> preactivations_, z_;  // of a stretch
  std::vector<float> dpreactivations_;     // [N, stretch + longest, 2R]: of a stretch and what follows it
};

}  // namespace rttraining
