// The decoder without Python: on other processors under an emulator, under sanitizers and under Valgrind. Reads golden
// files that test_decoder_program.py wrote, runs them on every instruction set and precision there is, and prints a
// line for each:
//
//   FILE PRECISION ISA golden=D scalar=D broken=NAMES
//
// golden: greatest difference of the logits to those in the file. scalar: to those of the scalar reference in this run.
// broken: which promises about streams did not hold ("none"): finite, splits, together, reset, clamped, recovery.
//
// usage: decoder_program FILE...
//        decoder_program plant-overflow|plant-undefined: a fault that the sanitizers must find.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cpu/decoder.h"

namespace {

using rtengine::Decoder;
using rtengine::Isa;
using rtengine::Slot;
using Codes = std::vector<std::uint8_t>;

// A golden file is a sequence of tensors, little-endian: int32 length of the name, the name, int32 dimensions, int64
// each, float32 values. "config" holds blocks, layers, R, S, L, hop, prediction order; "latents" [H, L]; "codes" [T];
// "ranges" [layers, R]; "logits.PRECISION" [T, 256]; "codes.NAME" as _engine.Decoder takes them; all others are
// weights.
struct Golden {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  std::map<std::string, std::vector<float>> values;
};

template <class T>
T read_number(std::ifstream& file) {
  T number;
  file.read(reinterpret_cast<char*>(&number), sizeof number);
  if (!file) throw std::runtime_error("golden file ends too early");
  return number;
}

Golden read_golden(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  Golden golden;
  while (file.peek() != std::ifstream::traits_type::eof()) {
    std::string name(static_cast<std::size_t>(read_number<std::int32_t>(file)), ' ');
    file.read(name.data(), static_cast<std::streamsize>(name.size()));
    std::vector<std::int64_t> shape(static_cast<std::size_t>(read_number<std::int32_t>(file)));
    std::size_t count = 1;
    for (std::int64_t& n : shape) count *= static_cast<std::size_t>(n = read_number<std::int64_t>(file));
    std::vector<float> values(count);
    for (float& value : values) value = read_number<float>(file);
    golden.shapes[name] = shape;
    golden.values[name] = std::move(values);
  }
  return golden;
}

struct Case {
  explicit Case(const Golden& golden) {
    for (const auto& [name, values] : golden.values) {
      if (name.find('.') != std::string::npos && name.rfind("logits.", 0) != 0 && name.rfind("codes.", 0) != 0)
        tensors[name] = {golden.shapes.at(name), values.data()};
      if (name == "logits.weight" || name == "logits.bias") tensors[name] = {golden.shapes.at(name), values.data()};
    }
    const std::vector<float>& numbers = golden.values.at("config");
    int* const fields[] = {&config.blocks,          &config.layers,          &config.residual_channels,
                           &config.skip_channels,   &config.latent_channels, &config.hop_samples,
                           &config.prediction_order};
    for (std::size_t i = 0; i < std::size(fields); ++i) *fields[i] = static_cast<int>(numbers.at(i));
    latents = golden.values.at("latents");
    for (const float code : golden.values.at("codes")) codes.push_back(static_cast<std::uint8_t>(code));
    ranges = golden.values.at("ranges");
    const auto read_codes = [&](const std::string& name, std::vector<std::int8_t>* to, std::vector<float>* scale) {
      for (const float code : golden.values.at("codes." + name)) to->push_back(static_cast<std::int8_t>(code));
      *scale = golden.values.at("codes." + name + "_scale");
    };
    read_codes("now", &weight_codes.now, &weight_codes.now_scale);
    read_codes("residual", &weight_codes.residual, &weight_codes.residual_scale);
    read_codes("skip", &weight_codes.skip, &weight_codes.skip_scale);
    hops = static_cast<int>(golden.shapes.at("latents")[0]);
  }

  rtengine::DecoderConfig config;
  rtengine::TensorViews tensors;
  std::vector<float> latents;  // [hops, L]
  Codes codes;                 // [T]
  std::vector<float> ranges;   // [layers, R]
  rtengine::Codes weight_codes;
  int hops = 0;
};

std::vector<float> logits_of(const Decoder& decoder, const std::vector<float>& latents, const Codes& codes) {
  std::vector<float> logits(codes.size() * rtengine::kClasses);
  decoder.logits(latents.data(), codes.data(), static_cast<std::int64_t>(codes.size()), logits.data());
  return logits;
}

bool finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

double greatest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double most = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - b[i]);
    most = difference <= most ? most : difference;  // a NaN stays
  }
  return most;
}

// The codes of all hops, `step` samples a call.
Codes generate(Slot& slot, const std::vector<float>& latents, int step) {
  const rtengine::DecoderConfig& config = slot.decoder().config();
  const std::size_t l = static_cast<std::size_t>(config.latent_channels);
  Codes codes;
  for (std::size_t h = 0; h < latents.size() / l; ++h) {
    slot.begin_hop(latents.data() + h * l);
    for (int i = 0; i < config.hop_samples; i += step) {
      const int n = std::min(step, config.hop_samples - i);
      codes.resize(codes.size() + static_cast<std::size_t>(n));
      slot.generate(codes.data() + codes.size() - n, n);
    }
  }
  return codes;
}

// `count` slots side by side, of which one gets a latent of its own; each against itself alone.
bool together_equals_alone(const std::shared_ptr<const Decoder>& decoder, const std::vector<float>& latents,
                           int count) {
  const rtengine::DecoderConfig& config = decoder->config();
  const std::size_t l = static_cast<std::size_t>(config.latent_channels);
  std::vector<std::unique_ptr<Slot>> slots;
  std::vector<Slot*> pointers;
  std::vector<Codes> codes(static_cast<std::size_t>(count));
  for (int k = 0; k < count; ++k) {
    slots.push_back(std::make_unique<Slot>(decoder, static_cast<std::uint64_t>(k)));
    pointers.push_back(slots.back().get());
  }
  for (std::size_t h = 0; h < latents.size() / l; ++h) {
    std::vector<std::uint8_t*> places;
    for (int k = 0; k < count; ++k) {
      Codes& all = codes[static_cast<std::size_t>(k)];
      all.resize((h + 1) * static_cast<std::size_t>(config.hop_samples));
      places.push_back(all.data() + h * static_cast<std::size_t>(config.hop_samples));
      pointers[static_cast<std::size_t>(k)]->begin_hop(latents.data() + h * l);
    }
    rtengine::generate_together(pointers.data(), places.data(), count, config.hop_samples);
  }
  for (int k = 0; k < count; ++k) {
    Slot alone(decoder, static_cast<std::uint64_t>(k));
    if (generate(alone, latents, config.hop_samples) != codes[static_cast<std::size_t>(k)]) return false;
  }
  return true;
}

// What a latent counts as: see kLatentLimit. Denormals are flushed.
float clamped(float value) {
  if (std::isnan(value) || std::fabs(value) < std::numeric_limits<float>::min()) return 0.0f;
  return std::clamp(value, -rtengine::kLatentLimit, rtengine::kLatentLimit);
}

// A hop of hostile latents has the bits of the clamped ones, in this hop and after it; and once it has left the
// receptive field, nothing is left of it.
std::string check_hostile(const std::shared_ptr<const Decoder>& decoder, const Case& c) {
  const float hostile[] = {std::numeric_limits<float>::quiet_NaN(),  std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(),  std::numeric_limits<float>::max(),
                           std::numeric_limits<float>::denorm_min(), -1e-40f};
  const std::size_t l = static_cast<std::size_t>(c.config.latent_channels);
  std::vector<float> bad = c.latents, good = c.latents;
  for (std::size_t i = 0; i < l; ++i) {
    bad[i] = hostile[i % std::size(hostile)];
    good[i] = clamped(bad[i]);
  }
  std::string broken;
  Slot a(decoder, 1), b(decoder, 1);
  const int hop = c.config.hop_samples;
  if (generate(a, bad, hop) != generate(b, good, hop)) broken += ",clamped";
  const std::vector<float> before = logits_of(*decoder, c.latents, c.codes), after = logits_of(*decoder, bad, c.codes);
  if (!finite(after)) broken += ",finite";
  std::size_t first = static_cast<std::size_t>(hop);
  for (int i = 0; i < c.config.total_layers(); ++i) first += static_cast<std::size_t>(c.config.dilation(i));
  if (first < c.codes.size() &&
      !std::equal(after.begin() + static_cast<std::ptrdiff_t>(first) * rtengine::kClasses, after.end(),
                  before.begin() + static_cast<std::ptrdiff_t>(first) * rtengine::kClasses))
    broken += ",recovery";
  if (after == before) broken += ",clamped";  // the hop was heard at all
  return broken;
}

std::string check_streams(const std::shared_ptr<const Decoder>& decoder, const Case& c) {
  std::string broken;
  Slot slot(decoder, 3);
  const Codes whole = generate(slot, c.latents, c.config.hop_samples);
  for (const int step : {1, 7, rtengine::kChunkSamples}) {
    slot.reset(3);
    if (generate(slot, c.latents, step) != whole) broken += ",splits";
  }
  slot.reset(4);
  generate(slot, c.latents, c.config.hop_samples);
  slot.reset(3);
  slot.set_temperature(0.0f);
  generate(slot, c.latents, c.config.hop_samples);
  slot.reset(3);
  slot.set_temperature(1.0f);
  if (generate(slot, c.latents, c.config.hop_samples) != whole) broken += ",reset";
  for (const int count : {3, rtengine::kMostTogether})
    if (!together_equals_alone(decoder, c.latents, count)) broken += ",together";
  return broken + check_hostile(decoder, c);
}

void run(const std::string& path) {
  const Golden golden = read_golden(path);
  const Case c(golden);
  for (const std::string precision : rtengine::kPrecisions) {
    std::vector<float> scalar;
    for (const Isa isa : rtengine::available_isas()) {
      if ((precision.rfind("int", 0) == 0 ? integer_isa(isa) : float_isa(isa)) != isa)
        continue;  // the same kernels as another
      const char* forced = std::getenv("RTSERVER_ISA");
      if (forced && isa_name(isa) != std::string(forced)) continue;
      const auto decoder =
          std::make_shared<const Decoder>(c.config, c.tensors, isa_name(isa), precision, c.ranges, &c.weight_codes);
      const std::vector<float> logits = logits_of(*decoder, c.latents, c.codes);
      if (scalar.empty()) scalar = logits;
      const auto expected = golden.values.find("logits." + precision);
      const double difference = expected == golden.values.end() ? -1.0 : greatest_difference(logits, expected->second);
      const std::string broken = (finite(logits) ? "" : ",finite") + check_streams(decoder, c);
      std::printf("%s %s %s golden=%.3g scalar=%.3g broken=%s\n", path.c_str(), precision.c_str(), isa_name(isa),
                  difference, greatest_difference(logits, scalar), broken.empty() ? "none" : broken.c_str() + 1);
      std::fflush(stdout);
    }
  }
}

void plant(const std::string& fault) {
  const volatile int index = 4;
  const std::vector<float> four(4, 1.0f);
  if (fault == "plant-overflow") std::printf("%f\n", static_cast<double>(four.data()[index]));
  if (fault == "plant-undefined") std::printf("%d\n", std::numeric_limits<int>::max() - 3 + index);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string(argv[1]).rfind("plant-", 0) == 0) {
      plant(argv[1]);
      return 0;
    }
    for (int i = 1; i < argc; ++i) run(argv[i]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
