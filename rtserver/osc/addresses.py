"""Every OSC message that rtserver speaks: one table, from which the decoder, `docs/osc.md` and OSCQuery are made.

Two sockets: `control` (UDP, --port, the control process) and `audio` (UDP, the audio worker's, named in
`/rt/connected`; parsed in C++). `<session>` in an address stands for the session's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Receiver = Literal["server", "client", "both"]
Socket = Literal["control", "audio"]

MAX_SESSION = 2**31 - 1
MAX_SEED = 2**63 - 1  # OSC's 64-bit integers are signed
AUDIO_FRAMES_MAX = 320  # the packet then fits one Ethernet frame, sealed (1,360 of 1,472 bytes)
SEAL_TAGS = "hb"


@dataclass(frozen=True)
class Argument:
    """One argument: the type tag that rtserver itself sends, what else it accepts, and what values mean.

    `tag` and `also` are OSC type tags; numbers are accepted in any numeric type if the value survives the conversion.
    """

    name: str
    tag: Literal["i", "h", "f", "s", "b"]
    doc: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    also: str = ""

    @property
    def range_text(self) -> str:
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        if self.low is None and self.high is None:
            return ""
        return f"{_number(self.low)} to {_number(self.high)}"


@dataclass(frozen=True)
class Message:
    """One address: who receives it, on which socket, its arguments in order, optional trailing string pairs."""

    address: str
    receiver: Receiver
    doc: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Argument, ...] = ()
    socket: Socket = "control"
    example: str = ""

    @property
    def tags(self) -> str:
        return "," + "".join(argument.tag for argument in self.arguments)


def _number(value: float | None) -> str:
    if value is None:
        return "any"
    if value == MAX_SEED:
        return "2^63 - 1"
    if value == MAX_SESSION:
        return "2^31 - 1"
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


_SESSION = Argument("session", "i", "number given by `/rt/connected`", low=1, high=MAX_SESSION)

MIX = Argument("mix", "f", "0 is the aligned dry signal alone, 1 the translation alone", low=0, high=1)
OUTPUT_GAIN = Argument("output_gain_db", "f", "gain of the sum", "dB", -60, 24)
INPUT_GAIN = Argument("input_gain_db", "f", "gain into the network; the dry signal is untouched", "dB", -60, 24)
GATE = Argument("gate_db", "f", "input below this level is silence to the network; -90 is off", "dB", -90, 0)
DECODER = Argument("decoder", "s", "instrument of the model, by name or by index", also="i")
TEMPERATURE = Argument("temperature", "f", "0 plays the likeliest sample, 1 samples as trained", low=0, high=2)
SEED = Argument("seed", "h", "of the random numbers; takes effect when the stream next starts", low=0, high=MAX_SEED)
BYPASS = Argument("bypass", "i", "1 plays the aligned dry signal", low=0, high=1, also="TF")
FALLBACK = Argument("fallback", "s", "what is heard while a block is missing", choices=("dry", "silence"), also="i")
PANIC = Argument(
    "panic", "i", "1 silences the wet signal and resets the network; 0 does nothing", low=0, high=1, also="TF"
)

PARAMETERS: dict[str, Argument] = {
    argument.name: argument
    for argument in (
        MIX,
        OUTPUT_GAIN,
        INPUT_GAIN,
        GATE,
        DECODER,
        TEMPERATURE,
        SEED,
        BYPASS,
        FALLBACK,
        PANIC,
    )
}
"""What `/rt/<session>/<name> value` sets."""

DEFAULTS: dict[str, float | int | str] = {
    "mix": 1.0,
    "output_gain_db": 0.0,
    "input_gain_db": 0.0,
    "gate_db": -90.0,
    "temperature": 1.0,
    "seed": 0,
    "bypass": 0,
    "fallback": "dry",
}

CLIENT_PARAMETERS = frozenset({"mix", "output_gain_db", "bypass", "fallback", "panic"})
"""What a remote client does itself: the server forwards these to its address. A panic starts a new epoch there."""

LATENCY_PARTS = ("block", "resampling", "lookahead", "hop", "margin", "jitter", "reported", "fade")

CONNECT = Message(
    "/rt/connect",
    "server",
    "Open a session. Answered by `/rt/connected` or `/rt/error`.",
    (
        Argument(
            "transport", "s", "how audio travels: shared memory, or OSC on the audio socket", choices=("shm", "osc")
        ),
        Argument("rate_hz", "i", "sample rate of the host", "Hz", 8000, 384000),
        Argument("max_block_frames", "i", "largest block that the host will hand in", "frames", 1, 16384),
        Argument("channels", "i", "channels in and out; the network hears their mean", low=1, high=2),
        Argument(
            "client_pid", "i", "process to watch, so that a dead client's memory is freed", low=0, high=MAX_SESSION
        ),
        Argument("wanted_latency_frames", "i", "refuse if it can't be exactly this; 0 takes any", "frames", 0, 2**24),
        Argument("model", "s", 'name of a served model, or of a probe; "" is the first'),
    ),
    options=(
        Argument("margin", "s", 'time kept for scheduling: "live", "balanced", "studio", or milliseconds'),
        Argument("decoder", "s", "instrument to start with"),
        SEED,
        Argument("jitter_ms", "f", "OSC audio only: delay kept for the network, both ways together", "ms", 0, 2000),
        Argument("session", "i", "resume this session with its parameters", low=1, high=MAX_SESSION),
        Argument("offline", "i", "1: a bounce, which is never `busy`: it waits for whoever plays live", low=0, high=1),
    ),
    example='/rt/connect ,siiiiisss "shm" 48000 128 2 4711 0 "piano" "margin" "live"',
)
CONNECTED = Message(
    "/rt/connected",
    "client",
    "The session is open.",
    (
        _SESSION,
        Argument("shm", "s", 'name of the shared memory; "" when audio travels over OSC'),
        Argument("generation", "i", "counts the segments made for this session", low=0, high=MAX_SESSION),
        Argument("audio_port", "i", "UDP port of the audio socket; 0 with shared memory", low=0, high=65535),
        *(
            Argument(
                part,
                "i",
                f"latency: {part}" if part != "fade" else "cross-fade, part of the margin",
                "frames",
                0,
                2**24,
            )
            for part in LATENCY_PARTS
        ),
    ),
    example='/rt/connected ,isiiiiiiiiii 1 "rts-4711-1" 1 0 128 240 0 480 240 0 1088 48',
)
ERROR = Message(
    "/rt/error",
    "client",
    "A message was refused. Never sent in answer to an answer.",
    (
        Argument("code", "s", "one word, stable: see below"),
        Argument("text", "s", "what, why, and what to do"),
    ),
    example='/rt/error ,ss "out_of_range" "/rt/1/mix: mix is 1.5, must be 0 to 1"',
)
DISCONNECT = Message("/rt/disconnect", "server", "End a session.", (_SESSION,), example="/rt/disconnect ,i 1")
STATUS = Message("/rt/status", "server", "Ask what the server is doing.", example="/rt/status ,")
STATUS_REPLY = Message(
    "/rt/status.reply", "client", "Sessions, misses, load.", (Argument("json", "s", "one JSON object"),)
)
MODELS = Message("/rt/models", "server", "Ask which models are served.", example="/rt/models ,")
MODELS_REPLY = Message(
    "/rt/models.reply", "client", "Models and their decoders.", (Argument("json", "s", "one JSON object"),)
)

BLEND = Message(
    "/rt/<session>/blend",
    "server",
    "Play a mixture of this session's latents and another's. Both must play the same model.",
    (
        Argument("amount", "f", "0 is this session alone, 1 the source alone", low=0, high=1),
        Argument("source", "i", "number of the other session; 0 ends it", low=0, high=MAX_SESSION),
    ),
    example="/rt/1/blend ,fi 0.5 2",
)

_PRESET = Argument("name", "s", "of the preset: 1 to 64 printable characters")
PRESET_SAVE = Message(
    "/rt/preset/save",
    "server",
    "Keep a session's parameters under a name, in place of what had that name.",
    (_SESSION, _PRESET),
    example='/rt/preset/save ,is 1 "evening"',
)
PRESET_RECALL = Message(
    "/rt/preset/recall",
    "server",
    "Set a session's parameters to those of a preset. A decoder that its model lacks is left as it is.",
    (_SESSION, _PRESET),
    example='/rt/preset/recall ,is 1 "evening"',
)
PRESET_DELETE = Message(
    "/rt/preset/delete", "server", "Forget a preset.", (_PRESET,), example='/rt/preset/delete ,s "evening"'
)
PRESETS = Message("/rt/presets", "server", "Ask which presets there are.", example="/rt/presets ,")
PRESETS_REPLY = Message(
    "/rt/presets.reply", "client", "Names of the presets.", (Argument("json", "s", "one JSON array of strings"),)
)

_EXAMPLES = {"decoder": '"piano"', "seed": "7", "fallback": '"silence"', "bypass": "1", "panic": "1"}


def _setter_doc(name: str) -> str:
    text = "Stop everything that sounds." if name == "panic" else "Set a parameter."
    return f"{text} The server passes it on to a remote client." if name in CLIENT_PARAMETERS else text


_SETTERS = tuple(
    Message(
        f"/rt/<session>/{name}",
        "both" if name in CLIENT_PARAMETERS else "server",
        _setter_doc(name),
        (argument,),
        example=f"/rt/1/{name} ,{argument.tag} {_EXAMPLES.get(name, '0.5' if name != 'gate_db' else '-50')}",
    )
    for name, argument in PARAMETERS.items()
)

_EPOCH = Argument("epoch", "i", "which unbroken stretch of stream; the client counts from 1", low=1, high=MAX_SESSION)
_EPOCH_OR_NONE = Argument("epoch", "i", "as with audio; 0: none yet", low=0, high=MAX_SESSION)
_OFFLINE = Argument("offline", "i", "1: a bounce, served after every live session", low=0, high=1)
_FRAME = Argument("frame", "h", "index of the packet's first frame, counted from the epoch's start", "frames", 0, 2**62)
_AUDIO = Argument(
    "audio", "b", f"1 to {AUDIO_FRAMES_MAX} frames, mono, float32, little-endian, at the session's rate", low=-1, high=1
)
_AUDIO_MESSAGES = (
    Message(
        "/rt/<session>/epoch",
        "server",
        "Start an epoch; repeated until answered, then a sign of life.",
        (_EPOCH_OR_NONE, _OFFLINE),
        (),
        "audio",
    ),
    Message(
        "/rt/<session>/epoch.reply",
        "client",
        "The network is reset and ready for this epoch's first frame; also the answer to a sign of life.",
        (_EPOCH_OR_NONE,),
        (),
        "audio",
    ),
    Message("/rt/<session>/audio", "server", "Input of the network.", (_EPOCH, _FRAME, _AUDIO), (), "audio"),
    Message(
        "/rt/<session>/audio.reply",
        "client",
        "Its translation, aligned: frame n answers input frame n.",
        (
            _EPOCH,
            _FRAME,
            Argument(
                "concealed",
                "i",
                "input frames of this epoch that were lost and replaced so far",
                "frames",
                0,
                MAX_SESSION,
            ),
            _AUDIO,
        ),
        (),
        "audio",
    ),
)

MESSAGES: tuple[Message, ...] = (
    CONNECT,
    CONNECTED,
    DISCONNECT,
    *_SETTERS,
    BLEND,
    STATUS,
    STATUS_REPLY,
    MODELS,
    MODELS_REPLY,
    PRESET_SAVE,
    PRESET_RECALL,
    PRESET_DELETE,
    PRESETS,
    PRESETS_REPLY,
    ERROR,
    *_AUDIO_MESSAGES,
)
BY_ADDRESS: dict[str, Message] = {message.address: message for message in MESSAGES}
