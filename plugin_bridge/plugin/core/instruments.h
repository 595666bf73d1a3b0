// The instruments that a session of a host knows, by number. What the parameter Instrument points at must be the same
// sound whenever the session is opened again, on whatever server: so the list only grows, is saved with the session,
// and an instrument is a pack's content hash and a decoder's name, not a place in a server's list.
//
// Number 0 is the one that was the server's default when the plugin first met a server.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/parameter_table.h"
#include "rtbridge/control_client.h"
#include "rtbridge/latency.h"

namespace rtplugin {

struct Instrument {
  std::string model, sha256, decoder;  // a probe has neither hash nor decoder
  rtbridge::ModelDelay delay;

  bool known() const noexcept { return !model.empty(); }
  std::string text() const;  // "piano", "orchestra: strings"
};

class Instruments {
 public:
  // Adds what is served and not yet there, and fills number 0 if nothing ever did. Gives whether anything changed.
  bool learn(const rtbridge::Served& served);
  const Instrument& at(uint32_t number) const noexcept;  // one that is not known() for numbers beyond the list
  uint32_t size() const noexcept { return static_cast<uint32_t>(list_.size()); }
  void put(uint32_t number, Instrument instrument);  // numbers beyond kInstrumentSlots are ignored

  // The served model and the index of its decoder. Nothing when it is not served; why_not names it then.
  struct Found {
    const rtbridge::ServedModel* model;
    uint32_t decoder_index;
  };
  std::optional<Found> find(uint32_t number, const rtbridge::Served& served, std::string& why_not) const;

 private:
  std::vector<Instrument> list_ = std::vector<Instrument>(1);
};

}  // namespace rtplugin
