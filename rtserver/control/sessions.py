"""Sessions: one a client. What a session is, which parameters it has, and when it is over."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from typing import Any

from rtserver import latency
from rtserver.control.endpoint import Address
from rtserver.control.models import ServedModel
from rtserver.errors import UserError
from rtserver.latency import LatencyParts

MAX_SESSIONS = 32
RESUME_SECONDS = 30.0  # a session whose worker died waits so long for its client
SILENT_SECONDS = 5.0  # a remote client that sends nothing for so long is gone
REPEAT_SECONDS = 2.0  # an equal request within this time is a repetition, later a wish for a new generation
MAX_EXTRA_MARGIN_MS = 500.0


@dataclass
class Session:
    """A client's stream. `segment` is the shared memory; remote sessions have theirs in the worker."""

    number: int
    transport: str  # "shm" or "osc"
    model: ServedModel
    rate_hz: int
    max_block_frames: int
    channels: int
    parts: LatencyParts
    client_pid: int
    client_started: float
    address: Address
    request: object  # the event that asked for it: sent again, it gets the same answer
    parameters: dict[str, float | int] = field(default_factory=dict)
    blend: tuple[float, int] = (0.0, 0)  # share of another session's latents, and its number
    generation: int = 0
    segment_name: str = ""
    segment: Any = None
    state: str = "opening"  # then "running"; "waiting" for its client after the worker died
    opened_at: float = field(default_factory=time.monotonic)
    running_since: float = 0.0
    waiting_since: float = 0.0
    last_heard: float = field(default_factory=time.monotonic)
    worker_stats: dict[str, Any] = field(default_factory=dict)
    reserved: bool = False  # it has its share of the cores; a bounce needs none
    render_thread: int = -1  # of the worker; -1: any

    @property
    def remote(self) -> bool:
        return self.transport == "osc"

    @property
    def geometry(self) -> dict[str, Any]:
        """What Segment.create takes."""
        return {
            "session": self.number,
            "generation": self.generation,
            "sample_rate_hz": self.rate_hz,
            "max_block_frames": self.max_block_frames,
            "channels": self.channels,
            "latency": self.parts.to_dict(),
            "transport": "remote" if self.remote else "shm",
        }

    def answers(self, address: Address, request: object, now: float) -> bool:
        """Whether this session is the answer to a request that was merely sent again."""
        fresh = self.state == "opening" or (self.state == "running" and now - self.running_since < REPEAT_SECONDS)
        return fresh and self.address == address and self.request == request

    def why_over(self, now: float) -> str:
        """Why the session should end now; "" if it should not."""
        if self.state == "waiting" and now - self.waiting_since > RESUME_SECONDS:
            return "the client did not come back"
        if self.client_pid and not self.remote and process_started(self.client_pid) != self.client_started:
            return f"the client (process {self.client_pid}) died"
        if self.remote and now - self.last_heard > SILENT_SECONDS:
            return "the client is silent"
        return ""


def compute_parts(
    model: ServedModel, rate_hz: int, max_block_frames: int, margin: str, jitter_ms: float, wanted_frames: int
) -> LatencyParts:
    """The latency of a session; a larger one that the client wants is met by more margin. UserError if impossible."""
    probe = None if model.kind == "model" else model.kind
    try:
        parts = latency.compute(
            rate_hz,
            max_block_frames,
            model.hop_samples,
            model.lookahead_samples,
            margin,
            jitter_ms=jitter_ms,
            probe=probe,
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    extra = wanted_frames - parts.reported
    if not wanted_frames or extra == 0:
        return parts
    if extra < 0:
        raise UserError(
            f"latency of {wanted_frames} frames is not possible: {model.name} at {rate_hz} Hz with blocks of"
            f" {max_block_frames} needs {parts.reported}; connect with that latency, or 0 to accept any"
        )
    if extra * 1000 > MAX_EXTRA_MARGIN_MS * rate_hz:
        raise UserError(
            f"latency of {wanted_frames} frames is more than {MAX_EXTRA_MARGIN_MS:g} ms above the"
            f" {parts.reported} that {model.name} needs; ask for less"
        )
    return replace(parts, margin=parts.margin + extra, reported=wanted_frames)


def process_started(pid: int) -> float:
    """When a process was started, in the system's units; -1 if there is none. Tells a process from a later namesake."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return -1.0 if fields[0] in (b"Z", b"X") else float(fields[19])
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return -1.0
    except (OSError, ValueError, IndexError):
        return 0.0
    if os.name != "posix":
        return 0.0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1.0
    except PermissionError:
        pass
    return 0.0
