// Runs the engine's loops over samples and hops and reports what it asked of the C library and of the kernel: one line
// "allocations=N locks=N codes=N latents=N filtered=N". Linux only. Between arm() and disarm() every malloc, free and
// mutex lock of the process is counted, and the kernel allows read, write and exit only: any other system call ends the
// process by signal 9.
//
// usage: engine_allocation ISA PRECISION [none|new|malloc|lock|syscall]; the third plants a fault, to show that it is
//        found.
//        engine_allocation ISA PRECISION split: nothing is counted; says whether the codes depend on the length of
//        calls.
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cpu/decoder.h"
#include "cpu/encoder.h"

namespace {

bool armed = false;
int allocations = 0, locks = 0;
int (*real_lock)(pthread_mutex_t*) = nullptr;

void note_allocation() {
  if (armed) ++allocations;
}
void note_release() { note_allocation(); }

}  // namespace

#include "../programs/interposed_heap.h"

extern "C" {
int pthread_mutex_lock(pthread_mutex_t* mutex) {
  if (!real_lock) real_lock = reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  if (armed) ++locks;
  return real_lock(mutex);
}
}

namespace {

volatile std::uintptr_t sink = 0;  // so that a planted allocation isn't optimised away

void plant(const std::string& fault, std::mutex& mutex) {
  if (fault == "new") {
    auto memory = std::make_unique<int>(1);
    sink = reinterpret_cast<std::uintptr_t>(memory.get());
  } else if (fault == "malloc") {
    void* memory = std::malloc(100);
    sink = reinterpret_cast<std::uintptr_t>(memory);
    std::free(memory);
  } else if (fault == "lock") {
    const std::lock_guard<std::mutex> lock(mutex);
  } else if (fault == "syscall") {
    syscall(SYS_getppid);
  }
}

// Convolutions with weights and biases uniform in [-bound, bound).
class RandomTensors {
 public:
  explicit RandomTensors(float bound) : bound_(bound) {}

  void add_convolution(const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel) {
    add(name + ".weight", {out, in, kernel});
    add(name + ".bias", {out});
  }
  const rtengine::TensorViews& views() const { return views_; }

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t count = 1;
    for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
    std::vector<float>& values = storage_.emplace_back(count);
    for (float& value : values)
      value = (static_cast<float>((state_ = state_ * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1.0f) * bound_;
    views_[name] = {std::move(shape), values.data()};
  }

  float bound_;
  unsigned state_ = 1;
  rtengine::TensorViews views_;
  std::vector<std::vector<float>> storage_;
};

// A decoder of small random weights: two blocks of six layers, 24 channels, so that batched and single past taps, full
// and partial tiles are all on the path.
std::shared_ptr<const rtengine::Decoder> make_decoder(const std::string& isa, const std::string& precision) {
  rtengine::DecoderConfig config;
  config.blocks = 2, config.layers = 6, config.residual_channels = config.skip_channels = 24;
  config.latent_channels = 5, config.hop_samples = 40;
  RandomTensors tensors(0.5f);
  const std::int64_t r = 24, s = 24, l = 5;
  tensors.add_convolution("input", r, 1, 2);
  tensors.add_convolution("input_skip", s, r, 1);
  for (int i = 0; i < config.total_layers(); ++i) {
    const std::string prefix = "layers." + std::to_string(i);
    tensors.add_convolution(prefix + ".dilated", 2 * r, r, 2);
    tensors.add_convolution(prefix + ".latent", 2 * r, l, 1);
    tensors.add_convolution(prefix + ".residual", r, r, 1);
    tensors.add_convolution(prefix + ".skip", s, r, 1);
  }
  tensors.add_convolution("output", s, s, 1);
  tensors.add_convolution("output_latent", s, l, 1);
  tensors.add_convolution("logits", 256, s, 1);
  std::vector<float> ranges;
  rtengine::Codes codes;
  if (precision == "int8" || precision == "int4") {
    ranges.resize(static_cast<std::size_t>(config.total_layers() * r));
    const std::vector<float> latents(2 * l, 0.5f);
    const std::vector<std::uint8_t> past(80, 200);
    rtengine::Decoder(config, tensors.views(), isa).input_ranges(latents.data(), past.data(), 80, ranges.data());
    const auto fill = [&](std::vector<std::int8_t>* to, std::vector<float>* scales, std::int64_t rows) {
      scales->assign(static_cast<std::size_t>(rows * config.total_layers()), 1e-4f);
      for (std::size_t i = 0; i < scales->size() * r; ++i) to->push_back(static_cast<std::int8_t>(i * 7 % 16) - 8);
    };
    fill(&codes.now, &codes.now_scale, 2 * r);
    fill(&codes.residual, &codes.residual_scale, r);
    fill(&codes.skip, &codes.skip_scale, s);
  }
  return std::make_shared<const rtengine::Decoder>(config, tensors.views(), isa, precision, ranges, &codes);
}

// An encoder of small random weights that looks ahead, so that masks and waiting hops are on the path.
std::shared_ptr<const rtengine::Encoder> make_encoder(const std::string& isa, const std::string& precision) {
  rtengine::EncoderConfig config;
  config.blocks = 2, config.layers = 4, config.channels = 24, config.causal = false;
  config.latent_channels = 5, config.hop_samples = 40;
  const std::int64_t c = 24;
  RandomTensors tensors(0.125f);
  tensors.add_convolution("input", c, 1, 3);
  for (int i = 0; i < config.total_layers(); ++i) {
    tensors.add_convolution("layers." + std::to_string(i) + ".dilated", c, c, 3);
    tensors.add_convolution("layers." + std::to_string(i) + ".mix", c, c, 1);
  }
  tensors.add_convolution("latent", 5, c, 1);
  const std::vector<float> loud(400, 0.5f);
  const rtengine::EncoderRanges ranges = rtengine::Encoder(config, tensors.views(), isa).ranges(loud.data(), 10);
  // There is no encoder of 4 bits: int4 is the decoder's, and the encoder beside it is int8.
  return std::make_shared<const rtengine::Encoder>(config, tensors.views(), isa,
                                                   precision == "int4" ? "int8" : precision, ranges);
}

// One that runs once a hop, behind a filter bank.
std::shared_ptr<const rtengine::Encoder> make_hop_encoder(const std::string& isa) {
  rtengine::EncoderConfig config;
  config.blocks = 2, config.layers = 3, config.channels = 24, config.latent_channels = 5, config.hop_samples = 40;
  config.front_end = rtengine::ConstantQConfig{57, 2, 12, 16, 333};
  const std::int64_t c = 24;
  RandomTensors tensors(0.125f);
  tensors.add_convolution("input", c, config.inputs(), 3);
  for (int i = 0; i < config.total_layers(); ++i) {
    tensors.add_convolution("layers." + std::to_string(i) + ".dilated", c, c, 3);
    tensors.add_convolution("layers." + std::to_string(i) + ".mix", c, c, 1);
  }
  tensors.add_convolution("latent", 5, c, 1);
  return std::make_shared<const rtengine::Encoder>(config, tensors.views(), isa);
}

// The codes of three hops, `step` samples a call.
std::vector<std::uint8_t> generate_by(int step, const std::shared_ptr<const rtengine::Decoder>& decoder) {
  rtengine::Slot slot(decoder, 3);
  const int hop = decoder->config().hop_samples;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(3 * hop));
  for (int h = 0; h < 3; ++h) {
    const float value = 0.3f * static_cast<float>(h + 1);
    const std::vector<float> latent(5, value);
    slot.begin_hop(latent.data());
    for (int i = 0; i < hop; i += step) slot.generate(codes.data() + h * hop + i, hop - i < step ? hop - i : step);
  }
  return codes;
}

// "splits=equal" if the codes are the same whatever the calls.
int compare_splits(const std::string& isa, const std::string& precision) {
  const auto decoder = make_decoder(isa, precision);
  const std::vector<std::uint8_t> whole = generate_by(40, decoder);
  bool equal = true;
  for (const int step : {1, 7, 16, 32}) equal = equal && generate_by(step, decoder) == whole;
  std::printf("splits=%s first=%d last=%d\n", equal ? "equal" : "different", whole.front(), whole.back());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string isa = argc > 1 ? argv[1] : "auto", precision = argc > 2 ? argv[2] : "fp32";
  const std::string fault = argc > 3 ? argv[3] : "none";
  if (fault == "split") return compare_splits(isa, precision);
  rtengine::Slot slot(make_decoder(isa, precision), 1);
  std::mutex mutex;
  {
    const std::lock_guard<std::mutex> lock(mutex);
  }  // finds the real function before it counts
  std::vector<std::uint8_t> codes(40);
  std::vector<float> latent(5, 0.5f);
  rtengine::EncoderStream stream(make_encoder(isa, precision)), hop_stream(make_hop_encoder(isa));
  const std::vector<float> hop_samples(40, 0.25f);
  int generated = 0, encoded = 0, filtered = 0;

  prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
  armed = true;
  for (int hop = 0; hop < 20; ++hop) {
    slot.set_temperature(hop % 2 ? 1.0f : 0.0f);
    if (hop == 10) slot.reset(2);
    slot.begin_hop(latent.data());
    for (int i = 0; i < 40; i += rtengine::kChunkSamples) {
      const int n = 40 - i < rtengine::kChunkSamples ? 40 - i : rtengine::kChunkSamples;
      slot.generate(codes.data() + i, n);
      generated += n;
    }
    if (hop == 5) plant(fault, mutex);
    if (hop == 10) stream.reset();
    if (hop == 10) hop_stream.reset();
    encoded += stream.step(hop_samples.data()) != nullptr;
    filtered += hop_stream.step(hop_samples.data()) != nullptr;
  }
  while (stream.finish()) ++encoded;
  while (hop_stream.finish()) ++filtered;
  armed = false;

  char line[100];
  const int length = std::snprintf(line, sizeof line, "allocations=%d locks=%d codes=%d latents=%d filtered=%d\n",
                                   allocations, locks, generated, encoded, filtered);
  const bool written = write(1, line, static_cast<std::size_t>(length)) == length;
  syscall(SYS_exit, written ? 0 : 1);  // exit_group isn't allowed any more
}
