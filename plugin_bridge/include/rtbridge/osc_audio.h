// The four messages of the audio socket (docs/osc.md, docs/wire.md): written and read without allocation, every
// length checked against the datagram. Whatever does not have exactly the one right shape is refused by reason.
#pragma once
#include <cstddef>
#include <cstdint>

namespace rtbridge {

constexpr uint32_t kPacketFramesMax = 320;
constexpr size_t kDatagramBytesMax = 1472;  // fits one Ethernet frame over IPv4

enum class AudioKind : uint8_t {
  kEpoch,       // client: start this epoch; later a sign of life
  kEpochReply,  // server: the epoch may begin
  kAudio,       // client: input
  kAudioReply,  // server: its translation
};

struct AudioMessage {
  AudioKind kind = AudioKind::kAudio;
  uint32_t session = 0;    // 1 .. 2^31 - 1
  uint32_t epoch = 0;      // 1 .. 2^31 - 1; 0 with the two epoch kinds: none yet
  uint64_t frame = 0;      // of the first frame, counted from the epoch's start; < 2^62
  bool offline = false;    // kEpoch: a bounce, which waits for every block
  uint32_t concealed = 0;  // kAudioReply: input frames of this epoch lost so far
  uint32_t frames = 0;     // 1 .. kPacketFramesMax with the two audio kinds
};

enum class Refused : uint8_t {
  kNothing,  // not refused
  kMalformed,
  kUnknownSession,
  kUnsealed,
  kForged,
  kStale,
  kReplayed,
  kMisplaced,  // a kind for the other side, or from another address than the session's server
  kCount
};
const char* refused_name(Refused reason) noexcept;

// Writes a message without its seal; `audio` holds message.frames samples. With room_for_seal the type tags already
// promise one: put_seal() must follow. Gives the bytes written (at most kDatagramBytesMax with the seal).
size_t encode_audio(const AudioMessage& message, const float* audio, bool room_for_seal, uint8_t* datagram) noexcept;

// Reads a datagram. `audio` has room for kPacketFramesMax samples; NaN and infinity become 0. `sealed`: whether it
// carries a seal, which is not checked here.
Refused parse_audio(const uint8_t* datagram, size_t bytes, AudioMessage& message, float* audio, bool& sealed) noexcept;

}  // namespace rtbridge
