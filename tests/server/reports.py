"""Sessions and a worker's reports of them, made up: what admission looks at."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

from rtserver.control.admission import Admission
from rtserver.worker.messages import Report

HOP_SECONDS = 0.01
REPORT_SECONDS = 0.25
_numbers = count(1)


@dataclass
class Playing:
    """What admission looks at in a session."""

    model: Any = field(default_factory=lambda: SimpleNamespace(name="piano", hop_samples=160))
    parameters: dict[str, int] = field(default_factory=lambda: {"decoder": 0})
    segment: Any = None
    reserved: bool = False
    render_thread: int = -1
    state: str = "running"
    worker_stats: dict[str, Any] = field(default_factory=lambda: {"epoch": 1, "offline": 0})
    number: int = field(default_factory=lambda: next(_numbers))
    generation: int = 1


def served(model: str) -> Any:
    return SimpleNamespace(name=model, hop_samples=160)


class Reports:
    """A worker that reports four times a second, of one render thread."""

    def __init__(self, to: Admission) -> None:
        self._to = to
        self._now = 1000.0
        self._totals: dict[tuple[int, int], dict[str, Any]] = {}  # by session and generation
        self._batches = self._chunks = 0.0

    def play(
        self,
        sessions: list[Playing],
        seconds: float = 1.5,
        *,
        decoder: float = 0.0,  # of a core, each session
        encoder: float = 0.0,
        together: float = 1.0,  # sessions a batch
        misses: dict[int, str] | None = None,  # one in each report: session and cause
    ) -> None:
        """Let these play for a while, and everybody else be gone."""
        for _ in range(round(seconds / REPORT_SECONDS) + 1):  # the first report that has a session tells nothing yet
            for session in sessions:
                totals = self._of(session)
                totals["hops"] += round(REPORT_SECONDS / HOP_SECONDS)
                totals["decoder_ns"] += round(decoder * REPORT_SECONDS * 1e9)
                totals["encoder_ns"] += round(encoder * REPORT_SECONDS * 1e9)
                if misses and session.number in misses:
                    totals["misses_by_cause"][misses[session.number]] += 1
                chunks = 10 * REPORT_SECONDS / HOP_SECONDS
                self._chunks += chunks
                self._batches += chunks / together
            self._now += REPORT_SECONDS
            self._report(sessions)

    def pass_time(self, seconds: float, sessions: list[Playing]) -> None:
        """Nobody plays."""
        self._now += seconds
        self._report(sessions)

    def _of(self, session: Playing) -> dict[str, Any]:
        causes = dict.fromkeys(("starting", "host", "intake", "encoder", "decoder", "network", "overrun", "server"), 0)
        fresh = {"generation": session.generation, "hops": 0, "decoder_ns": 0, "encoder_ns": 0}
        return self._totals.setdefault((session.number, session.generation), {**fresh, "misses_by_cause": causes})

    def _report(self, sessions: list[Playing]) -> None:
        stats = {
            session.number: {
                **(totals := self._of(session)),
                "misses_by_cause": dict(totals["misses_by_cause"]),
            }
            for session in sessions
        }
        ensembles = [{"bounces": False, "batches": round(self._batches), "chunks": round(self._chunks)}]
        report = Report(stats, 0, 0, {}, ensembles=ensembles)
        self._to.in_service.hear(report, sessions, self._to.at_rest, self._now)  # type: ignore[arg-type]
