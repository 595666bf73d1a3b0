"""Who may play: a live session is admitted if the machine can carry it beside those that play, and else told why not.

A session takes time of one decoder core and of the encoder's, as the worker measured it when the model was warmed.
Sessions of one decoder on one core are generated together, the first at its full cost and each further one at that of
company (`Cost`). A bounce is never refused: it yields to whoever is live, and waits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rtserver.control import segments
from rtserver.control.options import ADMIT
from rtserver.control.sessions import Session
from rtserver.errors import UserError
from rtserver.worker.messages import Cost

MOST_TOGETHER = 8  # sessions that one reading of the weights serves
# Of a core. What is left is for what a measurement at rest doesn't see: caches shared with the host and the encoder,
# resampling, the kernel, and sessions whose chunks don't meet (docs/plugin.md has the measurement).
ROOM = 0.7
_ROUNDING = 1e-6  # of sums


class Refused(UserError):
    """A refusal with a stable code of its own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Voice:
    """What can be generated together: one decoder of one model."""

    model: str
    decoder: int = 0


class Admission:
    """The arithmetic of one worker's cores. `render_thread` and `reserved` of the sessions are the only state."""

    def __init__(self, admit: str = ADMIT[0]) -> None:
        self.admit = admit
        self.refused = 0  # requests, those that were repeated too
        self._costs: dict[str, Cost] = {}
        self._threads, self._shared = 1, False

    def has_cores(self, scheduling: dict[str, Any]) -> None:
        """Take the worker's cores as it tells them (`CorePlan.to_dict`)."""
        self._threads = max(1, int(scheduling.get("render_threads", 1)))
        self._shared = bool(scheduling.get("shared_core", False))

    def learn(self, model: str, cost: Cost) -> None:
        """What a session of this model takes."""
        self._costs[model] = cost

    def cost(self, model: str) -> Cost:
        """Of a session; nothing for a probe, or a model that wasn't measured."""
        return self._costs.get(model, Cost())

    def decoder_load(self, voices: Iterable[Voice]) -> float:
        """Share of a core that these voices take on it."""
        load = 0.0
        for voice, count in Counter(voices).items():
            cost = self.cost(voice.model)
            batches = math.ceil(count / MOST_TOGETHER)
            load += batches * cost.decoder + (count - batches) * cost.decoder_more
        return load

    def encoder_load(self, voices: Iterable[Voice]) -> float:
        """Share of the encoder's core."""
        return sum(self.cost(voice.model).encoder for voice in voices)

    def reserve(self, session: Session, sessions: Iterable[Session]) -> None:
        """Give a session its share of the cores beside the others, unless it has it. Refused if none is left."""
        if not session.reserved:
            session.render_thread = self.place(voice_of(session), sessions)
            session.reserved = True

    def why_not_live(self, session: Session, sessions: Iterable[Session]) -> str:
        """Why a session whose bounce has ended must end; "" if it may stay, or bounces still."""
        if session.reserved or session.state != "running" or not segments.plays_live(session):
            return ""
        try:
            self.reserve(session, sessions)
        except Refused as error:
            return str(error)
        return ""

    def place(self, voice: Voice, sessions: Iterable[Session]) -> int:
        """The render thread for one more live session beside these. Refused (busy) if none has room.

        A session that has the machine to itself may use all of a core: there is nobody whom it could disturb.
        """
        cores = self._playing(sessions)
        everybody = [each for core in cores for each in core]
        loads = [self.decoder_load([*core, voice]) for core in cores]
        best = loads.index(min(loads))
        encoder = self.encoder_load([*everybody, voice])
        if self.admit == "all":
            return best
        playing = sum(self.cost(each.model) != Cost() for each in everybody)
        room = (ROOM if playing else 1.0) + _ROUNDING
        load, before = loads[best], self.decoder_load(cores[best])
        if self._shared:
            load, before, encoder = load + encoder, before + self.encoder_load(everybody), 0.0
        if load > before and load > room:
            self._refuse(voice, "a decoder core", load - before, room - before, playing)
        if encoder > room and self.cost(voice.model).encoder:
            own = self.cost(voice.model).encoder
            self._refuse(voice, "the encoder core", own, room - encoder + own, playing)
        return best

    def _refuse(self, voice: Voice, core: str, needed: float, free: float, playing: int) -> None:
        self.refused += 1
        told = f"{voice.model} needs {math.ceil(100 * (needed - _ROUNDING)) / 100:.2f} of {core}, "
        if not playing:
            raise Refused("busy", f"{told}this machine has 1.00: bounce it, or start the server with --admit all")
        play = "1 session plays" if playing == 1 else f"{playing} sessions play"
        free = math.floor(100 * max(0.0, free)) / 100
        raise Refused("busy", f"{told}{free:.2f} is free; {play}: end one, or start the server with --admit all")

    def to_dict(self, sessions: Iterable[Session]) -> dict[str, Any]:
        """Fields of the status: what is taken of each core and what is left."""
        cores = self._playing(sessions)
        encoder = self.encoder_load(voice for core in cores for voice in core)
        loads = [self.decoder_load(core) + (encoder if self._shared else 0.0) for core in cores]
        return {
            "admit": self.admit,
            "room": ROOM,
            "decoder_cores": [{"sessions": len(core), **_of(load)} for core, load in zip(cores, loads, strict=True)],
            "encoder_core": _of(loads[0] if self._shared else encoder),
            "refused": self.refused,
        }

    def _playing(self, sessions: Iterable[Session]) -> list[list[Voice]]:
        """The voices on each render thread that live sessions have."""
        cores: list[list[Voice]] = [[] for _ in range(self._threads)]
        for session in sessions:
            if session.reserved:
                cores[session.render_thread % self._threads].append(voice_of(session))
        return cores


def voice_of(session: Session) -> Voice:
    """What a session plays now: clients in shared memory change the decoder without a word."""
    segment = session.segment
    decoder = session.parameters.get("decoder", 0) if segment is None else segment.get("decoder")
    return Voice(session.model.name, int(decoder))


def _of(load: float) -> dict[str, float]:
    return {"load": round(load, 3), "free": round(max(0.0, ROOM - load), 3)}
