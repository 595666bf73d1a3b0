// RemoteHub and RemoteLink for Python, and the pieces below them, so that tests can try each alone.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bindings.h"
#include "rtbridge/hmac_sha256.h"
#include "rtbridge/jitter_buffer.h"
#include "rtbridge/osc_audio.h"
#include "rtbridge/osc_seal.h"
#include "rtbridge/remote_link.h"
#include "stream/remote_hub.h"

namespace py = pybind11;
using rtbridge::AudioKind;
using rtbridge::AudioMessage;
using rtbridge::JitterBuffer;
using rtbridge::Refused;
using rtbridge::RemoteLink;
using rtstream::RemoteHub;

namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using ReleaseGil = py::call_guard<py::gil_scoped_release>;

constexpr const char* kKindNames[] = {"epoch", "epoch.reply", "audio", "audio.reply"};

std::string key_text(const std::optional<py::bytes>& key) {
  if (!key) return {};
  std::string text = *key;
  if (text.empty()) throw py::value_error("key: expected at least one byte, found none");
  return text;
}

rtbridge::HmacSha256 hmac_of(const std::string& key) {
  return rtbridge::HmacSha256(reinterpret_cast<const uint8_t*>(key.data()), key.size());
}

const uint8_t* data_of(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

py::bytes hmac_sha256(const std::string& key, const std::string& data) {
  const auto digest = hmac_of(key).digest(data_of(data), data.size());
  return py::bytes(reinterpret_cast<const char*>(digest.data()), digest.size());
}

py::bytes encode_audio(const std::string& kind, uint32_t session, uint32_t epoch, uint64_t frame,
                       const std::optional<Floats>& audio, uint32_t concealed, bool offline,
                       const std::optional<py::bytes>& key, int64_t nonce) {
  AudioMessage message;
  int found = -1;
  for (int i = 0; i < 4; ++i)
    if (kind == kKindNames[i]) found = i;
  if (found < 0) throw py::value_error("kind: expected epoch, epoch.reply, audio or audio.reply, found " + kind);
  message.kind = static_cast<AudioKind>(found);
  message.session = session;
  message.epoch = epoch;
  message.frame = frame;
  message.concealed = concealed;
  message.offline = offline;
  if (audio) {
    if (audio->size() > rtbridge::kPacketFramesMax)
      throw py::value_error("audio: expected at most 320 frames, found " + std::to_string(audio->size()));
    message.frames = static_cast<uint32_t>(audio->size());
  }
  uint8_t datagram[rtbridge::kDatagramBytesMax];
  size_t bytes = rtbridge::encode_audio(message, audio ? audio->data() : nullptr, key.has_value(), datagram);
  if (key) {
    rtbridge::put_seal(hmac_of(key_text(key)), nonce, datagram, bytes);
    bytes += rtbridge::kSealBytes;
  }
  return py::bytes(reinterpret_cast<const char*>(datagram), bytes);
}

py::object parse_audio(const std::string& datagram) {
  AudioMessage message;
  float audio[rtbridge::kPacketFramesMax];
  bool sealed = false;
  const Refused refused = rtbridge::parse_audio(data_of(datagram), datagram.size(), message, audio, sealed);
  if (refused != Refused::kNothing) return py::str(rtbridge::refused_name(refused));
  py::dict found;
  found["kind"] = kKindNames[static_cast<size_t>(message.kind)];
  found["session"] = message.session;
  found["epoch"] = message.epoch;
  found["frame"] = message.frame;
  found["concealed"] = message.concealed;
  found["offline"] = message.offline;
  found["sealed"] = sealed;
  found["audio"] = py::array_t<float>(static_cast<py::ssize_t>(message.frames), audio);
  return found;
}

class PySealChecker {
 public:
  PySealChecker(const py::bytes& key, int64_t floor) : key_(hmac_of(key_text(key))), window_(floor) {}
  std::string check(const std::string& datagram, int64_t now_us) {
    int64_t nonce = 0;
    if (!rtbridge::seal_fits(key_, data_of(datagram), datagram.size(), nonce)) return "forged";
    switch (window_.accept(nonce, now_us)) {
      case rtbridge::Freshness::kFresh:
        return "";
      case rtbridge::Freshness::kStale:
        return "stale";
      case rtbridge::Freshness::kReplayed:
        break;
    }
    return "replayed";
  }

 private:
  rtbridge::HmacSha256 key_;
  rtbridge::ReplayWindow window_;
};

py::array_t<float> pop_all(JitterBuffer& buffer) {
  std::vector<float> out;
  float piece[256];
  while (const uint32_t n = buffer.pop(piece, 256)) out.insert(out.end(), piece, piece + n);
  return py::array_t<float>(static_cast<py::ssize_t>(out.size()), out.data());
}

std::string push(JitterBuffer& buffer, uint64_t frame, const Floats& audio) {
  constexpr const char* kNames[] = {"accepted", "late", "duplicate", "too_far"};
  return kNames[static_cast<size_t>(buffer.push(frame, audio.data(), static_cast<uint32_t>(audio.size())))];
}

py::dict hub_stats(const RemoteHub& hub) {
  const rtstream::HubStats s = hub.stats();
  py::dict refused;
  for (size_t i = 1; i < s.refused.size(); ++i) refused[rtbridge::refused_name(static_cast<Refused>(i))] = s.refused[i];
  py::dict out;
  out["packets_received"] = s.packets_received;
  out["packets_sent"] = s.packets_sent;
  out["refused"] = refused;
  return out;
}

py::dict link_stats(const RemoteLink& link) {
  const rtbridge::LinkStats s = link.stats();
  py::dict out;
  out["packets_sent"] = s.packets_sent;
  out["packets_received"] = s.packets_received;
  out["packets_lost"] = s.packets_lost;
  out["packets_late"] = s.packets_late;
  out["packets_duplicate"] = s.packets_duplicate;
  out["packets_refused"] = s.packets_refused;
  out["frames_concealed"] = s.frames_concealed;
  out["frames_concealed_server"] = s.frames_concealed_server;
  return out;
}

}  // namespace

void bind_remote(py::module_& m) {
  m.def("hmac_sha256", &hmac_sha256, py::arg("key"), py::arg("data"));
  m.def("encode_audio", &encode_audio, py::arg("kind"), py::arg("session"), py::arg("epoch"), py::arg("frame") = 0,
        py::arg("audio") = py::none(), py::kw_only(), py::arg("concealed") = 0, py::arg("offline") = false,
        py::arg("key") = py::none(), py::arg("nonce") = 0);
  m.def("parse_audio", &parse_audio, py::arg("datagram"));

  py::class_<PySealChecker>(m, "AudioSealChecker")
      .def(py::init<const py::bytes&, int64_t>(), py::arg("key"), py::arg("floor_nonce") = 0)
      .def("check", &PySealChecker::check, py::arg("datagram"), py::arg("now_us"));

  py::class_<JitterBuffer>(m, "JitterBuffer")
      .def(py::init<uint32_t, uint32_t, uint32_t>(), py::arg("window_frames"), py::arg("jitter_frames"),
           py::arg("fade_frames"))
      .def("push", &push, py::arg("frame"), py::arg("audio"))
      .def("pop", &pop_all)
      .def("reset", &JitterBuffer::reset, py::arg("next_frame"))
      .def_property_readonly("next_frame", &JitterBuffer::next_frame)
      .def_property_readonly("late", &JitterBuffer::late)
      .def_property_readonly("duplicates", &JitterBuffer::duplicates)
      .def_property_readonly("lost", &JitterBuffer::lost)
      .def_property_readonly("concealed", &JitterBuffer::concealed);

  py::class_<RemoteHub>(m, "RemoteHub")
      .def(py::init([](const std::string& host, uint16_t port, const std::optional<py::bytes>& key, bool realtime) {
             return std::make_unique<RemoteHub>(host, port, key_text(key), realtime);
           }),
           py::arg("host"), py::arg("port") = 0, py::arg("key") = py::none(), py::arg("realtime") = true)
      .def_property_readonly("port", &RemoteHub::port)
      .def("add", &RemoteHub::add, py::arg("session"), py::arg("segment"), py::arg("jitter_frames"), ReleaseGil())
      .def("remove", &RemoteHub::remove, py::arg("session"), ReleaseGil())
      .def("stats", &hub_stats)
      .def("stop", &RemoteHub::stop, ReleaseGil());

  py::class_<RemoteLink>(m, "RemoteLink")
      .def(py::init([](std::shared_ptr<rtbridge::Segment> segment, const std::string& host, uint16_t port,
                       uint32_t session, const std::optional<py::bytes>& key, uint32_t jitter_frames) {
             return std::make_unique<RemoteLink>(std::move(segment), host, port, session, key_text(key), jitter_frames);
           }),
           py::arg("segment"), py::arg("server_host"), py::arg("server_port"), py::arg("session"),
           py::arg("key") = py::none(), py::arg("jitter_frames") = 0)
      .def("stats", &link_stats)
      .def("stop", &RemoteLink::stop, ReleaseGil());
}
