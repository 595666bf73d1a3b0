"""How live sessions fare, from the worker's reports: what they take of a core against what was measured at rest, and
who misses blocks again and again. Admission reckons with it.

A report has totals, so two of them tell what was done in between. Company makes sessions cheaper the more of them meet,
so a decoder's time is compared with what the measurement at rest says of as many as really were generated together. The
quotient tells what that measurement could not know: caches and cores that are shared with the host, resampling, time
that others take from the render thread; or that it was itself disturbed, having no real-time priority.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rtserver.control import segments
from rtserver.control.sessions import Session
from rtserver.latency import NETWORK_RATE_HZ
from rtserver.worker.messages import Cost, Report

WINDOW_SECONDS = 4.0  # that count: two of a refused plugin's questions
ENOUGH_SECONDS = 1.0  # of a model's audio within the window, before its figures count
SETTLED_SECONDS = 1.0  # of audio that a session has played when its figures count as everybody's
# One stall of the machine makes everybody miss, once; who misses in two of the window's reports lacks something.
REPORTS_WITH_MISSES = 2
LACKING = ("decoder", "encoder")  # causes of misses that another session would make worse
CHUNK_SAMPLES = 16  # csrc/stream/voice.h


@dataclass
class Taken:
    """Of one model: seconds of audio, and the core's seconds for it as measured at rest and as they were."""

    audio: float = 0.0
    decoder_at_rest: float = 0.0
    decoder: float = 0.0
    encoder_at_rest: float = 0.0
    encoder: float = 0.0

    def add(self, other: Taken) -> None:
        self.audio += other.audio
        self.decoder_at_rest += other.decoder_at_rest
        self.decoder += other.decoder
        self.encoder_at_rest += other.encoder_at_rest
        self.encoder += other.encoder


@dataclass(frozen=True)
class Factor:
    """Of what was measured at rest. Less than 1 where that measurement had to share its core with a busy machine."""

    decoder: float = 1.0
    encoder: float = 1.0


@dataclass
class _Span:
    """Between two reports."""

    ended: float  # time.monotonic()
    models: dict[str, Taken] = field(default_factory=dict)
    misses: dict[int, Counter[str]] = field(default_factory=dict)  # by session: causes of LACKING


@dataclass
class _Seen:
    """A session in the last report. Its counters belong to its generation."""

    generation: int
    live: bool
    stats: dict[str, Any]
    played: float = 0.0  # seconds of live audio


class InService:
    """Hears every report; the rest are questions."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._ensembles: list[tuple[int, int]] = []  # batches and chunks of the live render threads
        self._spans: deque[_Span] = deque()
        self._factors: dict[str, Factor] = {}  # of these spans

    def forget(self) -> None:
        """The worker is another one."""
        self._seen, self._ensembles = {}, []
        self._spans.clear()
        self._factors.clear()

    def hear(
        self,
        report: Report,
        sessions: Iterable[Session],
        cost: Callable[[str], Cost],
        now: float | None = None,  # time.monotonic()
    ) -> None:
        """Take a report. cost: of a model, as measured at rest."""
        span = _Span(time.monotonic() if now is None else now)
        playing = []  # session, what it did
        seen: dict[int, _Seen] = {}
        for session in sessions:
            stats = report.sessions.get(session.number)
            if stats is None or not session.reserved or stats["generation"] != session.generation:
                continue
            before = self._seen.get(session.number)
            at = seen[session.number] = _Seen(session.generation, segments.plays_live(session), stats)
            if before is None or before.generation != at.generation:
                continue
            at.played = before.played
            if at.live and before.live:
                done = _Done(before.stats, stats, session.model.hop_samples)
                at.played += done.audio
                playing.append((session, done))
        together = self._together(report, playing, cost)
        for session, done in playing:
            rest = cost(session.model.name)
            count = together[session.render_thread % len(together)] if together else 1.0
            span.models.setdefault(session.model.name, Taken()).add(
                Taken(
                    done.audio,
                    done.audio * (rest.decoder + (count - 1) * rest.decoder_more) / count,
                    done.decoder,
                    done.audio * rest.encoder,
                    done.encoder,
                )
            )
            if done.misses:
                span.misses[session.number] = done.misses
        self._seen = seen
        self._spans.append(span)
        while self._spans[0].ended < span.ended - WINDOW_SECONDS:
            self._spans.popleft()
        self._factors.clear()

    def _together(
        self, report: Report, playing: list[tuple[Session, _Done]], cost: Callable[[str], Cost]
    ) -> list[float]:
        """How many sessions a batch held on average, by render thread. Probes have no company and don't count."""
        totals = [(each["batches"], each["chunks"]) for each in report.ensembles if not each["bounces"]]
        before = self._ensembles if len(self._ensembles) == len(totals) else totals
        self._ensembles = totals
        probes = [0.0] * len(totals)
        for session, done in playing:
            if totals and cost(session.model.name) == Cost():
                probes[session.render_thread % len(totals)] += done.audio * NETWORK_RATE_HZ / CHUNK_SAMPLES
        counts = []
        for (batches, chunks), (batches_before, chunks_before), alone in zip(totals, before, probes, strict=True):
            made = batches - batches_before - alone
            counts.append(max(1.0, (chunks - chunks_before - alone) / made) if made >= 1 else 1.0)
        return counts

    def factor(self, model: str) -> Factor:
        """What the sessions of a model took lately, as a multiple of what was measured at rest."""
        if model not in self._factors:
            sums = Taken()
            for span in self._spans:
                sums.add(span.models.get(model, Taken()))
            enough = sums.audio >= ENOUGH_SECONDS
            decoder, encoder = (sums.decoder, sums.decoder_at_rest), (sums.encoder, sums.encoder_at_rest)
            self._factors[model] = Factor(_quotient(*decoder), _quotient(*encoder)) if enough else Factor()
        return self._factors[model]

    def settled(self, session: Session) -> bool:
        """Whether a session has played for long enough that what it takes is in the figures."""
        seen = self._seen.get(session.number)
        return seen is not None and seen.generation == session.generation and seen.played >= SETTLED_SECONDS

    def lacking(self, sessions: Iterable[Session]) -> dict[int, str]:
        """Those of these sessions that miss blocks again and again, by number: what they lack, one of LACKING."""
        found = {}
        for session in sessions:
            reports = [span.misses[session.number] for span in self._spans if session.number in span.misses]
            if len(reports) >= REPORTS_WITH_MISSES:
                found[session.number] = sum(reports, Counter[str]()).most_common(1)[0][0]
        return found


class _Done:
    """What a live session did between two reports of one generation."""

    def __init__(self, before: dict[str, Any], after: dict[str, Any], hop_samples: int) -> None:
        self.audio = (after["hops"] - before["hops"]) * hop_samples / NETWORK_RATE_HZ  # seconds
        self.decoder = (after["decoder_ns"] - before["decoder_ns"]) / 1e9
        self.encoder = (after["encoder_ns"] - before["encoder_ns"]) / 1e9
        counts = ((cause, after["misses_by_cause"][cause] - before["misses_by_cause"][cause]) for cause in LACKING)
        self.misses = Counter({cause: count for cause, count in counts if count > 0})


def _quotient(taken: float, at_rest: float) -> float:
    return taken / at_rest if at_rest > 0 and taken > 0 else 1.0
