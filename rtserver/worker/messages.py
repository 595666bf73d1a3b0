"""What the control process and the audio worker say to each other over their pipe: plain records, pickled.

Nothing here may import torch, aiohttp or the engine: both processes import it first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["loopback", "identity16k", "model"]

FLOAT_PARAMETERS = ("mix", "output_gain_db", "input_gain_db", "gate_db", "temperature")  # the rest are integers


@dataclass(frozen=True)
class WorkerOptions:
    """How to start a worker. `audio_host` is where it listens for the audio of remote clients."""

    audio_host: str = "127.0.0.1"
    key: bytes | None = None
    precision: str = "fp32"  # as rtserver.precision.check gives it
    realtime: bool = True
    pin: bool = True
    device: str = "cpu"  # "cpu" or "cuda:N": where the networks run, as far as that can be


# --- control to worker ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadModel:
    """A model to make ready. Its weights don't travel: the worker maps the prepared file (`rtserver.prepared`)."""

    name: str
    kind: Kind
    hop_samples: int
    lookahead_samples: int
    encoding: str  # of the network input: "mu_law_rounded", "mu_law_published" or "linear"
    pack: str = ""  # path of the pack
    sha256: str = ""  # of the pack
    image: str | bytes = ""  # path of the prepared file; its bytes, where it could not be written


@dataclass(frozen=True)
class OpenSession:
    """Serve a session. `segment` names its shared memory; None: a remote session, whose memory the worker makes."""

    session: int
    model: str
    segment: str | None
    geometry: dict[str, Any]  # what Segment.create takes; used when `segment` is None
    jitter_frames: int
    seed: int
    parameters: dict[str, float]
    blend: tuple[float, int] = (0.0, 0)  # as in Blend
    render_thread: int = -1  # that it plays on, counted from 0; -1: the one with the fewest sessions


@dataclass(frozen=True)
class CloseSession:
    session: int


@dataclass(frozen=True)
class SetParameter:
    """Of a remote session; shared memory is written by the control process itself."""

    session: int
    name: str
    value: float


@dataclass(frozen=True)
class Blend:
    """Mix the latents of session `source` into those of `session`: `amount` of them. 0: none."""

    session: int
    amount: float
    source: int


@dataclass(frozen=True)
class Listen:
    """Somebody looks at meters: for the next second, report what remote sessions sound like."""


@dataclass(frozen=True)
class Stop:
    pass


# --- worker to control ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    pid: int
    realtime_granted: bool
    audio_port: int  # UDP, of remote clients
    isa: str
    scheduling: dict[str, Any] = field(default_factory=dict)  # Scheduler.to_dict and CorePlan.to_dict
    memory: dict[str, Any] = field(default_factory=dict)  # LockedMemory.to_dict


@dataclass(frozen=True)
class Cost:
    """Seconds of a core that a second of live audio takes, measured in the worker.

    decoder: a session alone on its core; decoder_more: each further one that is generated together with it.
    """

    decoder: float = 0.0
    decoder_more: float = 0.0
    encoder: float = 0.0


@dataclass(frozen=True)
class ModelLoaded:
    name: str
    error: str = ""  # "" when it runs
    device: str = "cpu"  # where its decoders run: "cpu" or "cuda:N"
    gone: bool = False  # the prepared file is not there any more, or not as it was: prepare it again
    cost: Cost = Cost()  # nothing for a probe


@dataclass(frozen=True)
class SessionOpened:
    session: int
    error: str = ""


@dataclass(frozen=True)
class Report:
    """Sent four times a second; the control process takes its absence for a hang."""

    sessions: dict[int, dict[str, Any]]
    hops: int  # encoded since the start
    encoder_ns: int
    audio: dict[str, Any]  # datagram counters of the audio socket
    threads_refused: int = 0  # that rtkit gave no real-time priority
    ensembles: list[dict[str, Any]] = field(default_factory=list)  # the render threads
    heard: dict[int, tuple[Any, Any]] = field(default_factory=dict)  # newest frames [n, ch] in and out; see Listen
