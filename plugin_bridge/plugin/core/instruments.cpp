#include "core/instruments.h"

#include <algorithm>

namespace rtplugin {
namespace {

using rtbridge::Served;
using rtbridge::ServedModel;

rtbridge::ModelDelay delay_of(const ServedModel& m) { return {m.hop_samples, m.lookahead_samples, m.loopback}; }

Instrument instrument_of(const ServedModel& m, const std::string& decoder) {
  return {m.name, m.sha256, decoder, delay_of(m)};
}

// The same pack: by content; probes, which have none, by name.
bool same_pack(const Instrument& i, const ServedModel& m) {
  return i.sha256.empty() && m.sha256.empty() ? i.model == m.name : i.sha256 == m.sha256;
}

bool same_delay(const rtbridge::ModelDelay& a, const rtbridge::ModelDelay& b) {
  return a.hop_samples == b.hop_samples && a.lookahead_samples == b.lookahead_samples && a.loopback == b.loopback;
}

}  // namespace

std::string Instrument::text() const { return decoder.empty() || decoder == model ? model : model + ": " + decoder; }

const Instrument& Instruments::at(uint32_t number) const noexcept {
  static const Instrument nothing;
  return number < list_.size() ? list_[number] : nothing;
}

void Instruments::put(uint32_t number, Instrument instrument) {
  if (number >= kInstrumentSlots) return;
  if (number >= list_.size()) list_.resize(number + 1);
  list_[number] = std::move(instrument);
}

bool Instruments::learn(const Served& served) {
  bool changed = false;
  for (const ServedModel& m : served.models) {
    const bool is_default = m.name == served.default_model;
    const std::vector<std::string> decoders = m.decoders.empty() ? std::vector<std::string>{""} : m.decoders;
    if (is_default && !list_[0].known()) {
      list_[0] = instrument_of(m, decoders.front());
      changed = true;
    }
    for (const std::string& decoder : decoders) {
      bool found = false;
      for (size_t i = 0; i < list_.size(); ++i) {
        Instrument& known = list_[i];
        if (!known.known() || !same_pack(known, m) || known.decoder != decoder) continue;
        found = found || i > 0;
        if (!same_delay(known.delay, delay_of(m)) || known.model != m.name) {
          known = instrument_of(m, decoder);  // a pack that was renamed keeps its number
          changed = true;
        }
      }
      if (found) continue;
      const auto gap = std::find_if(list_.begin() + 1, list_.end(), [](const Instrument& i) { return !i.known(); });
      const auto number = static_cast<uint32_t>(gap - list_.begin());
      if (number >= kInstrumentSlots) return changed;
      put(number, instrument_of(m, decoder));
      changed = true;
    }
  }
  return changed;
}

std::optional<Instruments::Found> Instruments::find(uint32_t number, const Served& served, std::string& why_not) const {
  const Instrument& wanted = at(number);
  if (!wanted.known()) {
    why_not = "instrument " + std::to_string(number) + " is not served; there are " + std::to_string(size()) +
              " (0 to " + std::to_string(size() - 1) + ")";
    return {};
  }
  bool namesake = false;
  for (const ServedModel& m : served.models) {
    if (!same_pack(wanted, m)) {
      namesake = namesake || m.name == wanted.model;
      continue;
    }
    if (wanted.decoder.empty()) return Found{&m, 0};
    for (size_t i = 0; i < m.decoders.size(); ++i)
      if (m.decoders[i] == wanted.decoder) return Found{&m, static_cast<uint32_t>(i)};
  }
  why_not = wanted.text();
  if (!wanted.sha256.empty()) why_not += " (SHA-256 " + wanted.sha256.substr(0, 12) + ")";
  why_not += namesake ? " is not served, another file of that name is: choose its number in Instrument"
                      : " is not served: start the server with --model and its file";
  return {};
}

}  // namespace rtplugin
