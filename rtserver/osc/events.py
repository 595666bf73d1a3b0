"""What a datagram means once decoded: one frozen record a message, and `Refusal` for everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RefusalCode = Literal[
    "oversized",  # larger than any message of this protocol
    "malformed",  # not OSC
    "future_time_tag",  # a bundle for later; rtserver keeps no calendar
    "unknown_address",
    "misplaced",  # a message of the other side, or of the other socket
    "wrong_type",
    "out_of_range",
    "unsealed",  # a key is set and the message carries no seal
    "forged",  # the seal does not fit
    "stale",  # sealed more than a minute ago, or the clocks disagree
    "replayed",  # this very message has been here before
]

# Worth telling an honest sender. The rest is dropped and counted: an answer would help an attacker only.
_ANSWERED = frozenset(
    {"future_time_tag", "unknown_address", "misplaced", "wrong_type", "out_of_range", "unsealed", "stale"}
)


@dataclass(frozen=True)
class Connect:
    """Open a session. Empty or None options were not given."""

    transport: str
    rate_hz: int
    max_block_frames: int
    channels: int
    client_pid: int
    wanted_latency_frames: int = 0
    model: str = ""
    margin: str | None = None
    decoder: str | None = None
    seed: int | None = None
    jitter_ms: float | None = None
    session: int | None = None
    offline: int | None = None


@dataclass(frozen=True)
class Connected:
    """The session is open; the latency's parts are in host frames."""

    session: int
    shm: str
    generation: int
    audio_port: int
    block: int
    resampling: int
    lookahead: int
    hop: int
    margin: int
    jitter: int
    reported: int
    fade: int


@dataclass(frozen=True)
class Disconnect:
    session: int


@dataclass(frozen=True)
class SetParameter:
    """Set one of `addresses.PARAMETERS` of a session. `decoder` may be a name or an index."""

    session: int
    name: str
    value: float | int | str


@dataclass(frozen=True)
class Blend:
    """Mix the latents of session `source` into those of `session`."""

    session: int
    amount: float
    source: int


@dataclass(frozen=True)
class StatusRequest:
    pass


@dataclass(frozen=True)
class StatusReply:
    json: str


@dataclass(frozen=True)
class ModelsRequest:
    pass


@dataclass(frozen=True)
class ModelsReply:
    json: str


@dataclass(frozen=True)
class PresetSave:
    session: int
    name: str


@dataclass(frozen=True)
class PresetRecall:
    session: int
    name: str


@dataclass(frozen=True)
class PresetDelete:
    name: str


@dataclass(frozen=True)
class PresetsRequest:
    pass


@dataclass(frozen=True)
class PresetsReply:
    json: str


@dataclass(frozen=True)
class ErrorReply:
    """The other side refused something: a stable word and one line for a person."""

    code: str
    text: str


@dataclass(frozen=True)
class Refusal:
    """A message that will not be obeyed: count it by `code`; tell the sender only if `answered`."""

    code: RefusalCode
    text: str
    address: str = ""

    @property
    def answered(self) -> bool:
        return self.code in _ANSWERED and not self.address.endswith((".reply", "/rt/error", "/rt/connected"))

    @property
    def answer(self) -> ErrorReply:
        return ErrorReply(self.code, f"{self.address}: {self.text}" if self.address else self.text)


Event = (
    Connect
    | Connected
    | Disconnect
    | SetParameter
    | Blend
    | StatusRequest
    | StatusReply
    | ModelsRequest
    | ModelsReply
    | PresetSave
    | PresetRecall
    | PresetDelete
    | PresetsRequest
    | PresetsReply
    | ErrorReply
)
