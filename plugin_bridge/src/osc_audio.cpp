#include "rtbridge/osc_audio.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>

#include "big_endian.h"
#include "rtbridge/osc_seal.h"

namespace rtbridge {
namespace {

struct Shape {
  const char* name;
  const char* tags;  // without the seal's "hb"
};
constexpr Shape kShapes[4] = {
    {"epoch", ",ii"},
    {"epoch.reply", ",i"},
    {"audio", ",ihb"},
    {"audio.reply", ",ihib"},
};
constexpr uint32_t kMaxInt = 0x7fffffff;
constexpr uint64_t kFrameLimit = uint64_t{1} << 62;

constexpr size_t padded(size_t text_bytes) { return (text_bytes / 4 + 1) * 4; }  // with at least one zero

bool has_audio(AudioKind kind) { return kind == AudioKind::kAudio || kind == AudioKind::kAudioReply; }

// What is left to read; every step checks that it stays inside.
struct Cursor {
  const uint8_t* at;
  size_t left;

  // The string at the cursor, without its zeros, and past them; null if it doesn't end, or is padded with non-zeros.
  const char* text(size_t& length) noexcept {
    const void* end = left > 0 ? std::memchr(at, 0, left) : nullptr;
    if (!end) return nullptr;
    length = static_cast<size_t>(static_cast<const uint8_t*>(end) - at);
    const size_t bytes = padded(length);
    if (bytes > left) return nullptr;
    for (size_t i = length; i < bytes; ++i)
      if (at[i] != 0) return nullptr;
    const char* found = reinterpret_cast<const char*>(at);
    at += bytes, left -= bytes;
    return found;
  }
  bool take32(uint32_t& x) noexcept {
    if (left < 4) return false;
    x = get_be32(at);
    at += 4, left -= 4;
    return true;
  }
  bool take64(uint64_t& x) noexcept {
    if (left < 8) return false;
    x = get_be64(at);
    at += 8, left -= 8;
    return true;
  }
};

// "/rt/<session>/<name>"
bool read_address(const char* text, size_t length, AudioMessage& message) noexcept {
  if (length < 6 || std::memcmp(text, "/rt/", 4) != 0 || text[4] == '0') return false;
  size_t at = 4;
  uint64_t session = 0;
  for (; at < length && text[at] >= '0' && text[at] <= '9'; ++at) {
    session = session * 10 + static_cast<uint64_t>(text[at] - '0');
    if (session > kMaxInt) return false;
  }
  if (session == 0 || at >= length || text[at] != '/') return false;
  ++at;
  for (uint8_t kind = 0; kind < 4; ++kind) {
    const size_t name_length = std::strlen(kShapes[kind].name);
    if (length - at != name_length || std::memcmp(text + at, kShapes[kind].name, name_length) != 0) continue;
    message.session = static_cast<uint32_t>(session);
    message.kind = static_cast<AudioKind>(kind);
    return true;
  }
  return false;
}

bool read_tags(const char* tags, size_t length, AudioKind kind, bool& sealed) noexcept {
  const char* plain = kShapes[static_cast<size_t>(kind)].tags;
  const size_t plain_length = std::strlen(plain);
  if (length < plain_length || std::memcmp(tags, plain, plain_length) != 0) return false;
  sealed = length == plain_length + 2 && tags[plain_length] == 'h' && tags[plain_length + 1] == 'b';
  return sealed || length == plain_length;
}

size_t put_text(uint8_t* at, const char* text, size_t length) noexcept {
  const size_t bytes = padded(length);
  std::memset(at, 0, bytes);
  std::memcpy(at, text, length);
  return bytes;
}

uint32_t little_endian(uint32_t x) noexcept {
  if constexpr (std::endian::native == std::endian::big)
    return x >> 24 | (x >> 8 & 0xff00) | (x << 8 & 0xff0000) | x << 24;
  return x;
}

}  // namespace

const char* refused_name(Refused reason) noexcept {
  constexpr const char* kNames[] = {"nothing", "malformed", "unknown_session", "unsealed",
                                    "forged",  "stale",     "replayed",        "misplaced"};
  static_assert(std::size(kNames) == static_cast<size_t>(Refused::kCount));
  return kNames[static_cast<size_t>(reason)];
}

size_t encode_audio(const AudioMessage& message, const float* audio, bool room_for_seal, uint8_t* datagram) noexcept {
  const Shape& shape = kShapes[static_cast<size_t>(message.kind)];
  char text[40] = "/rt/";
  size_t length = 4;
  char digits[10];
  int count = 0;
  for (uint32_t rest = message.session; rest > 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
  while (count > 0) text[length++] = digits[--count];
  text[length++] = '/';
  for (const char* c = shape.name; *c; ++c) text[length++] = *c;
  uint8_t* at = datagram;
  at += put_text(at, text, length);

  length = std::strlen(shape.tags);
  std::memcpy(text, shape.tags, length);
  if (room_for_seal) text[length++] = 'h', text[length++] = 'b';
  at += put_text(at, text, length);

  put_be32(at, message.epoch);
  at += 4;
  if (message.kind == AudioKind::kEpoch) {
    put_be32(at, message.offline ? 1 : 0);
    at += 4;
  }
  if (has_audio(message.kind)) {
    put_be64(at, message.frame);
    at += 8;
    if (message.kind == AudioKind::kAudioReply) {
      put_be32(at, message.concealed);
      at += 4;
    }
    put_be32(at, message.frames * 4);
    at += 4;
    for (uint32_t i = 0; i < message.frames; ++i, at += 4) {
      const uint32_t bits = little_endian(std::bit_cast<uint32_t>(audio[i]));
      std::memcpy(at, &bits, 4);
    }
  }
  return static_cast<size_t>(at - datagram);
}

Refused parse_audio(const uint8_t* datagram, size_t bytes, AudioMessage& message, float* audio, bool& sealed) noexcept {
  message = {};
  sealed = false;
  if (bytes > kDatagramBytesMax || bytes % 4 != 0) return Refused::kMalformed;
  Cursor cursor{datagram, bytes};
  size_t length = 0;
  const char* text = cursor.text(length);
  if (!text || !read_address(text, length, message)) return Refused::kMalformed;
  text = cursor.text(length);
  if (!text || !read_tags(text, length, message.kind, sealed)) return Refused::kMalformed;
  if (!cursor.take32(message.epoch) || message.epoch > kMaxInt) return Refused::kMalformed;
  if (message.kind == AudioKind::kEpoch) {
    uint32_t offline = 0;
    if (!cursor.take32(offline) || offline > 1) return Refused::kMalformed;
    message.offline = offline == 1;
  }
  if (has_audio(message.kind)) {
    uint32_t blob_bytes = 0;
    if (message.epoch == 0) return Refused::kMalformed;
    if (!cursor.take64(message.frame) || message.frame >= kFrameLimit) return Refused::kMalformed;
    if (message.kind == AudioKind::kAudioReply && (!cursor.take32(message.concealed) || message.concealed > kMaxInt))
      return Refused::kMalformed;
    if (!cursor.take32(blob_bytes) || blob_bytes % 4 != 0 || blob_bytes < 4 || blob_bytes > kPacketFramesMax * 4 ||
        blob_bytes > cursor.left)
      return Refused::kMalformed;
    message.frames = blob_bytes / 4;
    for (uint32_t i = 0; i < message.frames; ++i) {
      uint32_t bits;
      std::memcpy(&bits, cursor.at + 4 * i, 4);
      const float sample = std::bit_cast<float>(little_endian(bits));
      audio[i] = std::isfinite(sample) ? sample : 0.0f;
    }
    cursor.at += blob_bytes, cursor.left -= blob_bytes;
  }
  return cursor.left == (sealed ? kSealBytes : 0) ? Refused::kNothing : Refused::kMalformed;
}

}  // namespace rtbridge
