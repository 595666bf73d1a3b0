"""Who may play: a live session is admitted if the machine can carry it beside those that play, and else told why not.

A session takes time of one decoder core and of the encoder's: as the worker measured it when the model was warmed, and
as those in service take it as soon as some play (`in_service.py`). Sessions of one decoder on one core are generated
together, the first at its full cost and each further one at that of company (`Cost`). What company is worth is believed
of sessions that have played for a moment, and of one that has not; the others count in full until they have. So of many
that ask at once those get in that fit in any case, and the rest, who ask again, one after the other. While anybody
misses blocks again and again nobody is admitted. Nobody who was admitted is put out. A bounce is never refused: it
yields to whoever is live, and waits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rtserver.control import segments
from rtserver.control.in_service import InService
from rtserver.control.options import ADMIT
from rtserver.control.sessions import Session
from rtserver.errors import UserError
from rtserver.worker.messages import Cost, Report

MOST_TOGETHER = 8  # sessions that one reading of the weights serves
# Of a core. What is left is for what no average shows: sessions whose chunks don't meet, bursts of the host's blocks,
# the kernel (docs/plugin.md has the measurement).
ROOM = 0.7
_ROUNDING = 1e-6  # of sums
_ALL = "start the server with --admit all"


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


@dataclass
class Core:
    """The voices of live sessions on a decoder core: of those that are settled, and of those that have just begun."""

    settled: list[Voice] = field(default_factory=list)
    begun: list[Voice] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.settled) + len(self.begun)

    def __iter__(self) -> Iterator[Voice]:
        yield from self.settled
        yield from self.begun

    def beside(self, voice: Voice) -> Core:
        """The same with one more."""
        return Core(self.settled, [*self.begun, voice])


class Admission:
    """The arithmetic of one worker's cores. `render_thread` and `reserved` of the sessions say who is where."""

    def __init__(self, admit: str = ADMIT[0]) -> None:
        self.admit = admit
        self.refused = 0  # requests, those that were repeated too
        self.in_service = InService()
        self._costs: dict[str, Cost] = {}
        self._threads, self._shared = 1, False

    def has_cores(self, scheduling: dict[str, Any]) -> None:
        """Take a new worker's cores as it tells them (`CorePlan.to_dict`)."""
        self._threads = max(1, int(scheduling.get("render_threads", 1)))
        self._shared = bool(scheduling.get("shared_core", False))
        self.in_service.forget()

    def learn(self, model: str, cost: Cost) -> None:
        """What a session of this model takes, as measured at rest."""
        self._costs[model] = cost

    def hear(self, report: Report, sessions: Iterable[Session]) -> None:
        """What the sessions have done since the last report."""
        self.in_service.hear(report, sessions, self.at_rest)

    def at_rest(self, model: str) -> Cost:
        """Of a session, as it was measured; nothing for a probe, or a model that wasn't measured."""
        return self._costs.get(model, Cost())

    def cost(self, model: str) -> Cost:
        """Of a session, as it is reckoned with: what those in service take, as at rest while there are none."""
        rest, factor = self.at_rest(model), self.in_service.factor(model)
        return Cost(rest.decoder * factor.decoder, rest.decoder_more * factor.decoder, rest.encoder * factor.encoder)

    def decoder_load(self, voices: Iterable[Voice]) -> float:
        """Share of a core that these voices take on it in company."""
        load = 0.0
        for voice, count in Counter(voices).items():
            cost = self.cost(voice.model)
            batches = math.ceil(count / MOST_TOGETHER)
            load += batches * cost.decoder + (count - batches) * cost.decoder_more
        return load

    def core_load(self, core: Core) -> float:
        """The same, as long as company is believed of one only that has just begun."""
        in_full = sum(self.cost(voice.model).decoder for voice in core.begun[1:])
        return self.decoder_load([*core.settled, *core.begun[:1]]) + in_full

    def encoder_load(self, voices: Iterable[Voice]) -> float:
        """Share of the encoder's core."""
        return sum(self.cost(voice.model).encoder for voice in voices)

    def reserve(self, session: Session, sessions: Iterable[Session], instead: bool = False) -> None:
        """Give a session its share of the cores beside the others, unless it has it. Refused if none is left.

        instead: it had one for another model until now, so that nobody is added to those that play.
        """
        if not session.reserved:
            session.render_thread = self.place(voice_of(session), list(sessions), instead)
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

    def place(self, voice: Voice, sessions: list[Session], instead: bool = False) -> int:
        """The render thread for one more live session beside these. Refused (busy) if none has room.

        A session that has the machine to itself may use all of a core: there is nobody whom it could disturb.
        """
        cores = self._cores(sessions)
        everybody = [each for core in cores for each in core]
        loads = [self.core_load(core.beside(voice)) for core in cores]
        best = loads.index(min(loads))
        if self.admit == "all" or self.at_rest(voice.model) == Cost():
            return best
        playing = sum(self.at_rest(each.model) != Cost() for each in everybody)
        room = (ROOM if playing else 1.0) + _ROUNDING
        load, before, encoder = loads[best], self.core_load(cores[best]), self.encoder_load([*everybody, voice])
        in_company = self.decoder_load([*cores[best], voice])
        if self._shared:
            load, before, in_company = load + encoder, before + self.encoder_load(everybody), in_company + encoder
            encoder = 0.0
        if load > before and load > room:
            begun = len(cores[best].begun) if in_company <= room else 0
            self._refuse(voice, "a decoder core", load - before, room - before, playing, begun)
        if encoder > room:
            own = self.cost(voice.model).encoder
            self._refuse(voice, "the encoder core", own, room - encoder + own, playing)
        if not instead:
            self._refuse_while_some_lack(sessions, playing)
        return best

    def _refuse(self, voice: Voice, core: str, needed: float, free: float, playing: int, begun: int = 0) -> None:
        """begun: of those that play, who take the room for a moment only."""
        self.refused += 1
        told = f"{voice.model} needs {math.ceil(100 * (needed - _ROUNDING)) / 100:.2f} of {core}, "
        if not playing:
            raise Refused("busy", f"{told}this machine has 1.00: bounce it, or {_ALL}")
        play = "1 session plays" if playing == 1 else f"{playing} sessions play"
        free = math.floor(100 * max(0.0, free)) / 100
        what_to_do = f"{begun} just begun: wait a moment" if begun else f"end one, or {_ALL}"
        raise Refused("busy", f"{told}{free:.2f} is free; {play}{', ' if begun else ': '}{what_to_do}")

    def _refuse_while_some_lack(self, sessions: Iterable[Session], playing: int) -> None:
        lacking = self.in_service.lacking(session for session in sessions if session.reserved)
        if lacking:
            self.refused += 1
            what = Counter(lacking.values()).most_common(1)[0][0]
            who = f"{len(lacking)} of {playing} sessions miss" if playing > 1 else "the session that plays misses"
            raise Refused("busy", f"{who} blocks for want of the {what}: end one, or {_ALL}")

    def to_dict(self, sessions: Iterable[Session]) -> dict[str, Any]:
        """Fields of the status: what is taken of each core and what is left, and how those fare that play."""
        sessions = list(sessions)
        cores = self._cores(sessions)
        encoder = self.encoder_load(voice for core in cores for voice in core)
        loads = [self.core_load(core) + (encoder if self._shared else 0.0) for core in cores]
        measured = [model for model, cost in self._costs.items() if cost != Cost()]
        return {
            "admit": self.admit,
            "room": ROOM,
            "decoder_cores": [{"sessions": len(core), **_of(load)} for core, load in zip(cores, loads, strict=True)],
            "encoder_core": _of(loads[0] if self._shared else encoder),
            "in_service": {
                model: {name: round(value, 2) for name, value in asdict(self.in_service.factor(model)).items()}
                for model in measured
            },
            "begun": sum(len(core.begun) for core in cores),
            "missing": len(self.in_service.lacking(session for session in sessions if session.reserved)),
            "refused": self.refused,
        }

    def _cores(self, sessions: Iterable[Session]) -> list[Core]:
        """Who plays on each render thread."""
        cores = [Core() for _ in range(self._threads)]
        for session in sessions:
            if session.reserved:
                core = cores[session.render_thread % self._threads]
                (core.settled if self.in_service.settled(session) else core.begun).append(voice_of(session))
        return cores


def voice_of(session: Session) -> Voice:
    """What a session plays now: clients in shared memory change the decoder without a word."""
    segment = session.segment
    decoder = session.parameters.get("decoder", 0) if segment is None else segment.get("decoder")
    return Voice(session.model.name, int(decoder))


def _of(load: float) -> dict[str, float]:
    return {"load": round(load, 3), "free": round(max(0.0, ROOM - load), 3)}
