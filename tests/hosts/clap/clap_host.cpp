// A small CLAP host without a window, for tests: reads one command a line from standard input and answers each with one
// line of JSON; tests/hosts/clap_host.py drives it. Audio travels as files of interleaved float32.
//
//   clap_host PLUGIN [--without EXTENSION]...
//
//   scan | create ID | destroy | describe | activate RATE LOW HIGH | deactivate | latency | offline 0|1 | reset
//   get ID | flush ID VALUE | text ID VALUE | value ID TEXT
//   save FILE [PIECE [ROOM]] | load FILE [PIECE [FAIL_AT]]     state, in pieces of so many bytes, or failing
//   event FRAME ID VALUE                                       for the next `play`
//   play IN OUT FRAMES free|sleep|spin SIZES [traced|counted|in_place]...   in the background; OUT - : nothing is kept
//   position | wait | stop                                     of what plays
//   storm ROUNDS                                               everything that the main thread may ask, while it plays
//   requests | clock | quit
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>

#include "audio_thread.h"
#include "call_trace.h"
#include "state_streams.h"

namespace {

constexpr int kIdleMs = 5;  // how often the main thread looks for callbacks that the plugin asked for

std::string quoted(const char* text) {
  std::string out = "\"";
  for (const char* c = text ? text : ""; *c; ++c) {
    char escape[8];
    if (*c == '"' || *c == '\\')
      (out += '\\') += *c;
    else if (static_cast<unsigned char>(*c) < 0x20)
      out += (std::snprintf(escape, sizeof escape, "\\u%04x", *c), escape);
    else
      out += *c;
  }
  return out + '"';
}

// One JSON object, built field by field.
class Answer {
 public:
  template <class Number>
  Answer& number(const char* name, Number value) {
    std::ostringstream text;
    text.precision(17);
    text << value;
    return raw(name, text.str());
  }
  Answer& text(const char* name, const char* value) { return raw(name, quoted(value)); }
  Answer& flag(const char* name, bool value) { return raw(name, value ? "true" : "false"); }
  Answer& raw(const char* name, const std::string& json) {
    body_ += (body_.empty() ? "" : ", ") + quoted(name) + ": " + json;
    return *this;
  }
  std::string str() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

std::string list(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return "[" + text + "]";
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const void* data, size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  if (!file) throw std::runtime_error("cannot write " + path);
}

class Commands {
 public:
  explicit Commands(LoadedPlugin& loaded) : loaded_(loaded), audio_(loaded) {}

  // The answer to one line; throws std::exception for what can't be done.
  std::string obey(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    words.exceptions(std::ios::failbit);
    if (command == "scan") return scan();
    if (command == "requests") return requests();
    if (command == "clock") return Answer().number("ns", now_ns()).str();
    if (command == "create") {
      std::string id;
      words.exceptions(std::ios::goodbit);
      std::getline(words >> std::ws, id);
      return Answer().flag("created", loaded_.create(id)).str();
    }
    if (!loaded_.plugin()) throw std::runtime_error("no plugin: create one first");
    if (command == "destroy") return loaded_.destroy(), Answer().str();
    if (command == "describe") return describe();
    if (command == "activate") {
      const auto rate = next<double>(words);
      const auto low = next<uint32_t>(words), high = next<uint32_t>(words);
      const bool active = loaded_.activate(rate, low, high);
      return Answer().flag("active", active).number("latency", loaded_.latency()).str();
    }
    if (command == "deactivate") return loaded_.deactivate(), Answer().str();
    if (command == "latency") return Answer().number("latency", loaded_.latency()).str();
    if (command == "offline") return Answer().flag("accepted", loaded_.set_offline(next<int>(words) != 0)).str();
    if (command == "reset") return loaded_.plugin()->reset(loaded_.plugin()), Answer().str();
    if (command == "get") return get(next<uint32_t>(words));
    if (command == "flush") {
      const auto id = next<uint32_t>(words);
      return flush(id, next<double>(words)), Answer().str();
    }
    if (command == "text") {
      const auto id = next<uint32_t>(words);
      return text(id, next<double>(words));
    }
    if (command == "value") {
      const auto id = next<uint32_t>(words);
      std::string display;
      std::getline(words >> std::ws, display);
      double value = 0;
      const bool known = params().text_to_value(loaded_.plugin(), id, display.c_str(), &value);
      return Answer().flag("known", known).number("value", value).str();
    }
    if (command == "save" || command == "load") {
      const auto path = next<std::string>(words);
      words.exceptions(std::ios::goodbit);
      uint64_t piece = UINT64_MAX, limit = UINT64_MAX;
      if (words >> piece) words >> limit;
      return command == "save" ? save(path, piece, limit) : load(path, piece, limit);
    }
    if (command == "event") {
      ParameterEvent event;
      words >> event.frame >> event.parameter >> event.value;
      events_.push_back(event);
      return Answer().str();
    }
    if (command == "play") return play(words);
    if (command == "position") return Answer().number("frames", audio_.position()).number("ns", now_ns()).str();
    if (command == "stop") audio_.stop();
    if (command == "wait" || command == "stop") return wait();
    if (command == "storm") return storm(next<int>(words));
    throw std::runtime_error("unknown command " + command);
  }

 private:
  template <class Value>
  static Value next(std::istream& words) {
    Value value;
    words >> value;
    return value;
  }
  static uint64_t now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
  }
  const clap_plugin_params_t& params() const {
    const auto* params = loaded_.extension<clap_plugin_params_t>(CLAP_EXT_PARAMS);
    if (!params) throw std::runtime_error("the plugin has no parameters");
    return *params;
  }
  const clap_plugin_state_t& state() const {
    const auto* state = loaded_.extension<clap_plugin_state_t>(CLAP_EXT_STATE);
    if (!state) throw std::runtime_error("the plugin has no state");
    return *state;
  }

  std::string scan() const {
    const clap_plugin_factory_t& factory = loaded_.plugins();
    std::vector<std::string> plugins;
    const uint32_t count = factory.get_plugin_count(&factory);
    for (uint32_t i = 0; i < count; ++i) {
      const clap_plugin_descriptor_t* d = factory.get_plugin_descriptor(&factory, i);
      std::vector<std::string> features;
      for (const char* const* f = d->features; f && *f; ++f) features.push_back(quoted(*f));
      plugins.push_back(Answer()
                            .text("id", d->id)
                            .text("name", d->name)
                            .text("vendor", d->vendor)
                            .text("version", d->version)
                            .text("description", d->description)
                            .raw("features", list(features))
                            .str());
    }
    return Answer()
        .raw("plugins", list(plugins))
        .flag("descriptor_past_the_end", factory.get_plugin_descriptor(&factory, count) != nullptr)
        .flag("unknown_factory", loaded_.factory("no.such.factory") != nullptr)
        .str();
  }

  std::string describe() const {
    std::vector<std::string> parameters, inputs, outputs, extensions;
    for (const clap_param_info_t& p : loaded_.parameters())
      parameters.push_back(Answer()
                               .number("id", p.id)
                               .text("name", p.name)
                               .text("module", p.module)
                               .number("low", p.min_value)
                               .number("high", p.max_value)
                               .number("initial", p.default_value)
                               .flag("stepped", p.flags & CLAP_PARAM_IS_STEPPED)
                               .flag("read_only", p.flags & CLAP_PARAM_IS_READONLY)
                               .flag("automatable", p.flags & CLAP_PARAM_IS_AUTOMATABLE)
                               .flag("bypass", p.flags & CLAP_PARAM_IS_BYPASS)
                               .flag("hidden", p.flags & CLAP_PARAM_IS_HIDDEN)
                               .str());
    for (const uint32_t n : loaded_.ports(true)) inputs.push_back(std::to_string(n));
    for (const uint32_t n : loaded_.ports(false)) outputs.push_back(std::to_string(n));
    for (const char* id : {CLAP_EXT_AUDIO_PORTS, CLAP_EXT_LATENCY, CLAP_EXT_PARAMS, CLAP_EXT_STATE, "clap.render",
                           "clap.gui", "clap.no-such-extension"})
      if (loaded_.extension<void>(id)) extensions.push_back(quoted(id));
    return Answer()
        .raw("parameters", list(parameters))
        .raw("inputs", list(inputs))
        .raw("outputs", list(outputs))
        .raw("extensions", list(extensions))
        .str();
  }

  std::string requests() const {
    const Requests& r = loaded_.requests();
    std::vector<std::string> violations;
    for (const std::string& text : loaded_.violations()) violations.push_back(quoted(text.c_str()));
    return Answer()
        .number("restart", r.restart.load())
        .number("process", r.process.load())
        .number("callback", r.callback.load())
        .number("latency_changed", r.latency_changed.load())
        .number("rescan", r.rescan.load())
        .number("flush", r.flush.load())
        .number("dirty", r.dirty.load())
        .raw("violations", list(violations))
        .str();
  }

  std::string get(uint32_t id) const {
    double value = 0.0;
    const bool known = params().get_value(loaded_.plugin(), id, &value);
    return Answer().flag("known", known).number("value", value).number("ns", now_ns()).str();
  }

  std::string text(uint32_t id, double value) const {
    char display[256] = "";
    const bool known = params().value_to_text(loaded_.plugin(), id, value, display, sizeof display);
    return Answer().flag("known", known).text("text", display).str();
  }

  void flush(uint32_t id, double value) const {
    if (audio_.running()) throw std::runtime_error("flush while the audio thread plays: use event");
    clap_event_param_value_t event{};
    event.header = {sizeof event, 0, CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_PARAM_VALUE, 0};
    event.param_id = id;
    event.note_id = event.port_index = event.channel = event.key = -1;
    event.value = value;
    const clap_input_events_t in = {&event, [](const clap_input_events_t*) { return 1u; },
                                    [](const clap_input_events_t* all, uint32_t i) {
                                      return i == 0 ? static_cast<const clap_event_header_t*>(all->ctx) : nullptr;
                                    }};
    const clap_output_events_t out = {nullptr,
                                      [](const clap_output_events_t*, const clap_event_header_t*) { return true; }};
    params().flush(loaded_.plugin(), &in, &out);
  }

  std::string save(const std::string& path, uint64_t piece, uint64_t room) const {
    StateWriter writer(piece, room);
    const bool saved = state().save(loaded_.plugin(), writer.stream());
    write_file(path, writer.bytes.data(), writer.bytes.size());
    return Answer().flag("saved", saved).number("bytes", writer.bytes.size()).str();
  }

  std::string load(const std::string& path, uint64_t piece, uint64_t fail_at) const {
    StateReader reader(read_file(path), piece, fail_at);
    return Answer().flag("loaded", state().load(loaded_.plugin(), reader.stream())).str();
  }

  std::string play(std::istream& words) {
    if (!loaded_.active()) throw std::runtime_error("activate first");
    if (audio_.running()) throw std::runtime_error("it plays already");
    PlayRequest request;
    const auto input = next<std::string>(words);
    output_ = next<std::string>(words);
    request.frames = next<uint64_t>(words);
    const auto pace = next<std::string>(words);
    std::istringstream sizes(next<std::string>(words));
    const std::string bytes = read_file(input);
    request.input.resize(bytes.size() / sizeof(float));
    bytes.copy(reinterpret_cast<char*>(request.input.data()), request.input.size() * sizeof(float));
    request.pace = pace == "sleep"  ? PlayRequest::Pace::kSleep
                   : pace == "spin" ? PlayRequest::Pace::kSpin
                                    : PlayRequest::Pace::kFree;
    for (std::string size; std::getline(sizes, size, ',');)
      request.block_sizes.push_back(static_cast<uint32_t>(std::stoul(size)));
    words.exceptions(std::ios::goodbit);
    for (std::string word; words >> word;) {
      request.traced |= word == "traced";
      request.counted |= word == "counted";
      request.in_place |= word == "in_place";
    }
    request.events = std::move(events_);
    events_.clear();
    request.keep_output = output_ != "-";
    audio_.start(std::move(request));
    return Answer().number("ns", now_ns()).str();
  }

  std::string wait() {
    while (audio_.running()) {
      loaded_.pump();
      usleep(1000 * kIdleMs);
    }
    const PlayReport& r = audio_.finish();
    if (output_ != "-") write_file(output_, r.output.data(), r.output.size() * sizeof(float));
    return Answer()
        .number("blocks", r.blocks)
        .number("frames", r.frames)
        .number("seconds", r.seconds)
        .number("errors", r.errors)
        .number("first_error_frame", r.first_error_frame)
        .number("sleeps", r.sleeps)
        .number("late_blocks", r.late_blocks)
        .number("cpu_us_p50", r.cpu_us_p50)
        .number("cpu_us_p99", r.cpu_us_p99)
        .number("cpu_us_max", r.cpu_us_max)
        .number("cpu_share_max", r.cpu_share_max)
        .number("faults", r.faults)
        .number("overruns", r.overruns.count)
        .number("overruns_preempted", r.overruns.preempted)
        .raw("long", r.overruns.text)
        .number("reference_overruns", r.reference_overruns.count)
        .number("reference_us_p50", r.reference_us_p50)
        .number("reference_share_max", r.reference_share_max)
        .flag("counted", r.counted)
        .number("instructions_p50", r.instructions_p50)
        .number("instructions_max", r.instructions_max)
        .raw("worst", Answer()
                          .number("at", r.worst.at)
                          .number("frames", r.worst.frames)
                          .number("cpu_us", r.worst.cpu_us)
                          .number("preemptions", r.worst.preemptions)
                          .number("faults", r.worst.faults)
                          .str())
        .flag("realtime", r.realtime)
        .flag("traced", r.traced)
        .raw("calls", r.traced ? trace::report() : "{}")
        .str();
  }

  std::string storm(int rounds) {
    const std::vector<clap_param_info_t> all = loaded_.parameters();
    for (int round = 0; round < rounds; ++round) {
      for (const clap_param_info_t& p : all) {
        get(p.id);
        text(p.id, round % 2 ? p.min_value : p.max_value);
      }
      StateWriter writer(7);
      state().save(loaded_.plugin(), writer.stream());
      StateReader reader(writer.bytes, 7);
      state().load(loaded_.plugin(), reader.stream());
      loaded_.latency();
      loaded_.pump();
    }
    return Answer().number("rounds", rounds).str();
  }

  LoadedPlugin& loaded_;
  AudioThread audio_;
  std::vector<ParameterEvent> events_;
  std::string output_ = "-";
};

}  // namespace

int main(int argc, char** argv) {
  std::set<std::string> without;
  for (int i = 2; i + 1 < argc; i += 2) without.insert(argv[i + 1]);
  try {
    if (argc < 2) throw std::runtime_error("usage: clap_host PLUGIN [--without EXTENSION]...");
    LoadedPlugin loaded(argv[1], without);
    Commands commands(loaded);
    std::string pending;
    for (;;) {
      pollfd input = {0, POLLIN, 0};
      if (poll(&input, 1, kIdleMs) == 0) {
        loaded.pump();
        continue;
      }
      char piece[4096];
      const ssize_t n = read(0, piece, sizeof piece);
      if (n <= 0) return 0;
      pending.append(piece, static_cast<size_t>(n));
      for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
        const std::string line = pending.substr(0, end);
        if (line == "quit") return 0;
        std::string answer;
        try {
          answer = commands.obey(line);
        } catch (const std::exception& error) {
          answer = Answer().text("error", error.what()).str();
        }
        std::cout << answer << std::endl;
        loaded.pump();
      }
    }
  } catch (const std::exception& error) {
    std::cout << Answer().text("error", error.what()).str() << std::endl;
    return 1;
  }
}
