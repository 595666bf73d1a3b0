#include "training/decoder_pass.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/decoder_config.h"
#include "cpu/isa.h"

namespace rttraining {
namespace {

using rtengine::kClasses;

constexpr int kStretch = 192;  // samples: what a stretch needs of a layer stays in a second-level cache

std::size_t product(std::initializer_list<int> factors) {
  std::size_t result = 1;
  for (const int factor : factors) result *= static_cast<std::size_t>(factor);
  return result;
}

// [rows, columns] with `step` numbers from one to the next, to [columns, rows].
std::vector<float> transposed(const float* from, int rows, int columns, int step = 1) {
  std::vector<float> to(product({rows, columns}));
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) to[product({j, rows}) + i] = from[(product({i, columns}) + j) * step];
  return to;
}

std::vector<float> every_second(const float* from, std::size_t count) {
  std::vector<float> to(count);
  for (std::size_t i = 0; i < count; ++i) to[i] = from[2 * i];
  return to;
}

}  // namespace

const Kernels* kernels_of(const std::string& isa, bool bf16) {
  const rtengine::Isa chosen = rtengine::float_isa(rtengine::choose_isa(isa));
#if defined(__x86_64__) || defined(_M_X64)
  if (bf16) return chosen == rtengine::Isa::kAvx512 && rtengine::amx_bf16() ? &kAmxKernels : nullptr;
  if (chosen == rtengine::Isa::kAvx512) return &kAvx512Kernels;
  if (chosen == rtengine::Isa::kAvx2) return &kAvx2Kernels;
#endif
  static_cast<void>(chosen);
  return nullptr;
}

void PassShape::validate(const Kernels& kernels) const {
  const auto refuse = [](const std::string& what) { throw std::invalid_argument("decoder pass: expected " + what); };
  for (const int channels : {r, s})
    if (channels <= 0 || channels % kernels.width != 0 || channels > rtengine::kMaxChannels)
      refuse("channels in multiples of " + std::to_string(kernels.width) + ", found " + std::to_string(channels));
  if (hop <= 0 || batch <= 0 || samples <= 0) refuse("hop, batch and samples above 0");
  if (dilations.empty()) refuse("layers");
  for (const int dilation : dilations)
    if (dilation <= 0 || dilation > 1 << rtengine::kMaxLayersABlock) refuse("dilations above 0");
}

DecoderPass::DecoderPass(PassShape shape, const Kernels& kernels) : shape_(std::move(shape)), kernels_(kernels) {
  shape_.validate(kernels);
  const int n = shape_.layers(), r = shape_.r, s = shape_.s, b = shape_.batch, t = shape_.samples;
  longest_ = *std::max_element(shape_.dilations.begin(), shape_.dilations.end());
  inputs_.resize(product({b, t, 2}));
  for (auto* of_layer : {&gates_, &contents_}) of_layer->resize(product({kStretch, r}));
  for (auto* of_samples : {&skip_, &hidden_}) of_samples->resize(product({kStretch, s}));
  logit_rows_.resize(product({kStretch, kClasses}));
  layers_.resize(static_cast<std::size_t>(n));
  preactivations_.resize(product({kStretch, 2, r}));
  z_.resize(product({kStretch, r}));
  recent_.resize(product({n, longest_ + kStretch, r}));
  dpreactivations_.resize(product({n, kStretch + longest_, 2, r}));
}

void DecoderPass::make_room_for_all() {
  const int n = shape_.layers(), r = shape_.r, s = shape_.s, b = shape_.batch, t = shape_.samples;
  const auto grow = [](std::vector<float>& rows, std::size_t size) { rows.resize(std::max(rows.size(), size)); };
  grow(x_, product({n, b, longest_ + t, r}));
  for (auto* of_layer : {&gates_, &contents_}) grow(*of_layer, product({n, b, t, r}));
  for (auto* of_samples : {&skip_, &hidden_}) grow(*of_samples, product({b, t, s}));
  grow(logit_rows_, product({b, t, kClasses}));
}

float* DecoderPass::x(int layer, const Stretch& at) {
  if (!at.kept) return recent_.data() + (product({layer, longest_ + kStretch}) + longest_) * product({shape_.r});
  const std::size_t row = product({layer, shape_.batch}) + static_cast<std::size_t>(at.segment);
  return x_.data() +
         (row * product({longest_ + shape_.samples}) + product({longest_ + at.first})) * product({shape_.r});
}

float* DecoderPass::of_layer(std::vector<float>& rows, int layer, const Stretch& at) {
  if (!at.kept) return rows.data();
  const std::size_t row = product({layer, shape_.batch}) + static_cast<std::size_t>(at.segment);
  return rows.data() + (row * product({shape_.samples}) + product({at.first})) * product({shape_.r});
}

float* DecoderPass::of_samples(std::vector<float>& rows, int columns, const Stretch& at) {
  return rows.data() +
         (at.kept ? (product({at.segment, shape_.samples}) + product({at.first})) * product({columns}) : 0);
}

void DecoderPass::pack(const PassWeights<const float>& w) {
  const int r = shape_.r, s = shape_.s;
  input_ = transposed(w.input, r, 2);
  input_.insert(input_.end(), w.input_bias, w.input_bias + r);
  input_skip_ = transposed(w.input_skip, s, r);
  skip_bias_.assign(w.input_skip_bias, w.input_skip_bias + s);
  for (int i = 0; i < shape_.layers(); ++i) {
    const auto& from = w.layers[static_cast<std::size_t>(i)];
    Layer& to = layers_[static_cast<std::size_t>(i)];
    to.past = transposed(from.dilated, 2 * r, r, 2);
    to.now = transposed(from.dilated + 1, 2 * r, r, 2);
    to.past_back = every_second(from.dilated, product({2, r, r}));
    to.now_back = every_second(from.dilated + 1, product({2, r, r}));
    to.residual = transposed(from.residual, r, r);
    to.residual_bias.assign(from.residual_bias, from.residual_bias + r);
    to.skip = transposed(from.skip, s, r);
    for (int j = 0; j < s; ++j) skip_bias_[static_cast<std::size_t>(j)] += from.skip_bias[j];
  }
  output_ = transposed(w.output, s, s);
  logits_ = transposed(w.logits, kClasses, s);
  logits_bias_.assign(w.logits_bias, w.logits_bias + kClasses);
}

void DecoderPass::take_inputs(const float* past, const float* ahead) {
  float* to = inputs_.data();
  for (int b = 0; b < shape_.batch; ++b)
    for (int t = 0; t < shape_.samples; ++t, to += 2) {
      const std::size_t at = product({b, shape_.samples}) + static_cast<std::size_t>(t);
      to[0] = ahead ? ahead[at] : t > 1 ? past[at - 2] : 0.0f;
      to[1] = t > 0 ? past[at - 1] : 0.0f;
    }
}

// The last stretch's inputs become what comes before, where they aren't kept for good.
void DecoderPass::move_on(const Stretch& at) {
  if (at.kept) return;
  const std::size_t before = product({longest_, shape_.r});
  for (int i = 0; i < shape_.layers(); ++i) {
    float* const rows = x(i, at) - before;
    if (at.first == 0)
      std::fill_n(rows, before, 0.0f);
    else
      std::memmove(rows, rows + product({kStretch, shape_.r}), before * sizeof(float));
  }
}

// Everything up to the logits, which are left in `logit_rows_`.
void DecoderPass::run(const Stretch& at, Conditioning<const float> conditioning) {
  const int r = shape_.r, s = shape_.s, n = at.count;
  const float* const inputs = inputs_.data() + 2 * (product({at.segment, shape_.samples}) + product({at.first}));
  const auto hop_row = [&](const float* of, int layer, int sample, int columns) {
    const std::size_t row = product({layer, shape_.batch}) + static_cast<std::size_t>(at.segment);
    return of + (row * static_cast<std::size_t>(shape_.hops()) + static_cast<std::size_t>(sample / shape_.hop)) *
                    static_cast<std::size_t>(columns);
  };
  move_on(at);
  float* const first = x(0, at);
  for (int k = 0; k < n; ++k) std::copy_n(input_.data() + 2 * r, r, first + product({k, r}));
  kernels_.accumulate(first, r, n, r, {inputs, 2, 1}, 2, input_.data(), r);
  float* const skip = of_samples(skip_, s, at);
  for (int k = 0; k < n; ++k) std::copy_n(skip_bias_.data(), s, skip + product({k, s}));
  kernels_.accumulate(skip, s, n, s, {first, r, 1}, r, input_skip_.data(), s);

  for (int i = 0; i < shape_.layers(); ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    const float* const input = x(i, at);
    float* const a = preactivations_.data();
    for (int k = 0; k < n; ++k)
      std::copy_n(hop_row(conditioning.layers, i, at.first + k, 2 * r), 2 * r, a + product({k, 2, r}));
    const float* const before = input - product({shape_.dilations[static_cast<std::size_t>(i)], r});
    kernels_.accumulate(a, 2 * r, n, 2 * r, {before, r, 1}, r, layer.past.data(), 2 * r);
    kernels_.accumulate(a, 2 * r, n, 2 * r, {input, r, 1}, r, layer.now.data(), 2 * r);
    kernels_.gate(a, n, r, of_layer(gates_, i, at), of_layer(contents_, i, at), z_.data());
    kernels_.accumulate(skip, s, n, s, {z_.data(), r, 1}, r, layer.skip.data(), s);
    if (i + 1 == shape_.layers()) break;
    float* const next = x(i + 1, at);
    kernels_.add_to_rows(input, layer.residual_bias.data(), n, r, next);
    kernels_.accumulate(next, r, n, r, {z_.data(), r, 1}, r, layer.residual.data(), r);
  }

  kernels_.relu(skip, n * s, skip);
  float* const hidden = of_samples(hidden_, s, at);
  for (int k = 0; k < n; ++k)
    std::copy_n(hop_row(conditioning.output, 0, at.first + k, s), s, hidden + product({k, s}));
  kernels_.accumulate(hidden, s, n, s, {skip, s, 1}, s, output_.data(), s);
  kernels_.relu(hidden, n * s, hidden);
  float* const logits = of_samples(logit_rows_, kClasses, at);
  for (int k = 0; k < n; ++k) std::copy_n(logits_bias_.data(), kClasses, logits + product({k, kClasses}));
  kernels_.accumulate(logits, kClasses, n, kClasses, {hidden, s, 1}, s, logits_.data(), kClasses);
}

template <class Finish>
void DecoderPass::each_logits(const PassInputs& inputs, bool kept, const Finish& finish) {
  if (kept) make_room_for_all();
  pack(inputs.weights);
  take_inputs(inputs.past, inputs.ahead);
  for (int segment = 0; segment < shape_.batch; ++segment)
    for (int first = 0; first < shape_.samples; first += kStretch) {
      const Stretch at{segment, first, std::min(kStretch, shape_.samples - first), kept};
      run(at, inputs.conditioning);
      finish(of_samples(logit_rows_, kClasses, at), product({segment, shape_.samples}) + product({first}), at.count);
    }
}

void DecoderPass::forward(const PassInputs& inputs, const std::uint8_t* codes, float* losses) {
  each_logits(inputs, true, [&](float* logits, std::size_t place, int count) {
    kernels_.cross_entropy(logits, codes + place, count, losses + place);
  });
}

void DecoderPass::forward(const PassInputs& inputs, const float* wanted, float* losses) {
  each_logits(inputs, true, [&](float* logits, std::size_t place, int count) {
    kernels_.cross_entropy_soft(logits, wanted + place * kClasses, count, losses + place);
  });
}

void DecoderPass::draw(const PassInputs& inputs, const float* uniform, std::uint8_t* codes) {
  each_logits(inputs, false, [&](const float* logits, std::size_t place, int count) {
    kernels_.draw(logits, uniform + place, count, codes + place);
  });
}

void DecoderPass::logits(const PassInputs& inputs, float* logits) {
  each_logits(inputs, false, [&](const float* found, std::size_t place, int count) {
    std::copy_n(found, product({count, kClasses}), logits + place * kClasses);
  });
}

void DecoderPass::backward(const PassWeights<const float>& weights, const float* dlosses,
                           const PassWeights<float>& gradients, Conditioning<float> dconditioning) {
  if (x_.empty()) throw std::logic_error("decoder pass: gradients need losses before them");
  const int r = shape_.r, s = shape_.s, n = shape_.layers(), t = shape_.samples;
  std::vector<float> dz(product({kStretch, r})), dx(product({kStretch, r}));
  std::vector<float> dhidden(product({kStretch, s})), dskip(product({kStretch, s})), dskip_bias(product({s}));
  std::vector<float> dpast(product({n, 2, r, r})), dnow(product({n, 2, r, r})), dinput(product({2, r}));

  // Sums of rows [count, columns] by the hop they lie in, added to dconditioning of a layer.
  const auto add_by_hop = [&](const float* rows, const Stretch& at, int columns, float* to) {
    for (int k = 0, end; k < at.count; k = end) {
      const int hop = (at.first + k) / shape_.hop;
      end = std::min(at.count, (hop + 1) * shape_.hop - at.first);
      kernels_.add_rows(rows + product({k, columns}), end - k, columns, to + product({hop, columns}));
    }
  };

  for (int segment = 0; segment < shape_.batch; ++segment) {
    // Backwards in time: what a layer's past tap gives to a sample comes from a later one.
    for (int first = (t - 1) / kStretch * kStretch; first >= 0; first -= kStretch) {
      const Stretch at{segment, first, std::min(kStretch, t - first), true};
      const int count = at.count;
      const std::size_t place = product({segment, t}) + static_cast<std::size_t>(first);
      const float *const hidden = of_samples(hidden_, s, at), *const skip = of_samples(skip_, s, at);

      float* const dlogits = of_samples(logit_rows_, kClasses, at);
      kernels_.scale_rows(dlogits, dlosses + place, count, kClasses);
      kernels_.accumulate(gradients.logits, s, kClasses, s, {dlogits, 1, kClasses}, count, hidden, s);
      kernels_.add_rows(dlogits, count, kClasses, gradients.logits_bias);
      std::fill(dhidden.begin(), dhidden.end(), 0.0f);
      kernels_.accumulate(dhidden.data(), s, count, s, {dlogits, kClasses, 1}, kClasses, weights.logits, s);
      kernels_.relu_gradient(dhidden.data(), hidden, count * s, dhidden.data());
      kernels_.accumulate(gradients.output, s, s, s, {dhidden.data(), 1, s}, count, skip, s);
      add_by_hop(dhidden.data(), at, s, dconditioning.output + product({segment, shape_.hops(), s}));
      std::fill(dskip.begin(), dskip.end(), 0.0f);
      kernels_.accumulate(dskip.data(), s, count, s, {dhidden.data(), s, 1}, s, weights.output, s);
      kernels_.relu_gradient(dskip.data(), skip, count * s, dskip.data());
      kernels_.add_rows(dskip.data(), count, s, dskip_bias.data());

      std::fill(dx.begin(), dx.end(), 0.0f);  // of the layer's output, then of its input
      for (int i = n - 1; i >= 0; --i) {
        const auto& w = weights.layers[static_cast<std::size_t>(i)];
        const auto& to = gradients.layers[static_cast<std::size_t>(i)];
        const Layer& packed = layers_[static_cast<std::size_t>(i)];
        const bool goes_on = i + 1 < n;  // the last layer's residual has no use
        std::fill(dz.begin(), dz.end(), 0.0f);
        kernels_.accumulate(dz.data(), r, count, r, {dskip.data(), s, 1}, s, w.skip, r);
        if (goes_on) kernels_.accumulate(dz.data(), r, count, r, {dx.data(), r, 1}, r, w.residual, r);
        float* const own_da = dpreactivations_.data() + product({i, kStretch + longest_, 2, r});
        const std::size_t later = product({longest_, 2, r});
        if (first + kStretch >= t)
          std::fill_n(own_da, product({kStretch, 2, r}) + later, 0.0f);
        else
          std::memmove(own_da + product({kStretch, 2, r}), own_da, later * sizeof(float));
        kernels_.gate_gradient(dz.data(), of_layer(gates_, i, at), of_layer(contents_, i, at), count, r, own_da,
                               z_.data());
        kernels_.accumulate(to.skip, r, s, r, {dskip.data(), 1, s}, count, z_.data(), r);
        if (goes_on) {
          kernels_.accumulate(to.residual, r, r, r, {dx.data(), 1, r}, count, z_.data(), r);
          kernels_.add_rows(dx.data(), count, r, to.residual_bias);
        }
        add_by_hop(own_da, at, 2 * r,
                   dconditioning.layers + (product({i, shape_.batch}) + static_cast<std::size_t>(segment)) *
                                              product({shape_.hops(), 2, r}));
        const int dilation = shape_.dilations[static_cast<std::size_t>(i)];
        const float* const input = x(i, at);
        const std::size_t matrix = product({i, 2, r, r});
        kernels_.accumulate(dnow.data() + matrix, r, 2 * r, r, {own_da, 1, 2 * r}, count, input, r);
        kernels_.accumulate(dpast.data() + matrix, r, 2 * r, r, {own_da, 1, 2 * r}, count,
                            input - product({dilation, r}), r);
        kernels_.accumulate(dx.data(), r, count, r, {own_da, 2 * r, 1}, 2 * r, packed.now_back.data(), r);
        kernels_.accumulate(dx.data(), r, count, r, {own_da + product({dilation, 2, r}), 2 * r, 1}, 2 * r,
                            packed.past_back.data(), r);
      }
      kernels_.accumulate(gradients.input_skip, r, s, r, {dskip.data(), 1, s}, count, x(0, at), r);
      kernels_.accumulate(dx.data(), r, count, r, {dskip.data(), s, 1}, s, weights.input_skip, r);
      const float* inputs = inputs_.data() + 2 * (product({segment, t}) + static_cast<std::size_t>(first));
      kernels_.accumulate(dinput.data(), r, 2, r, {inputs, 1, 2}, count, dx.data(), r);
      kernels_.add_rows(dx.data(), count, r, gradients.input_bias);
    }
  }

  for (int j = 0; j < s; ++j) gradients.input_skip_bias[j] += dskip_bias[static_cast<std::size_t>(j)];
  for (int i = 0; i < r; ++i)
    for (int tap = 0; tap < 2; ++tap) gradients.input[2 * i + tap] += dinput[product({tap, r}) + i];
  for (int i = 0; i < n; ++i) {
    const auto& to = gradients.layers[static_cast<std::size_t>(i)];
    for (int j = 0; j < s; ++j) to.skip_bias[j] += dskip_bias[static_cast<std::size_t>(j)];
    const std::size_t matrix = product({2, r, r});
    for (std::size_t k = 0; k < matrix; ++k) {
      to.dilated[2 * k] += dpast[static_cast<std::size_t>(i) * matrix + k];
      to.dilated[2 * k + 1] += dnow[static_cast<std::size_t>(i) * matrix + k];
    }
  }
}

}  // namespace rttraining
