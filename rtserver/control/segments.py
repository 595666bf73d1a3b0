"""The control process's view of a session's shared memory: it makes it, reads its statistics, sets its parameters."""

from __future__ import annotations

import os
from typing import Any

from rtserver import _engine
from rtserver.control.sessions import Session

PARAMETERS = (
    "mix",
    "output_gain_db",
    "input_gain_db",
    "gate_db",
    "temperature",
    "bypass",
    "fallback",
    "decoder",
    "seed",
    "panic",
)
FALLBACKS = ("dry", "silence")


def create(session: Session) -> None:
    """Make the segment of the session's next generation, with its parameters already in it."""
    session.segment_name = _engine.Segment.name_for(os.getpid(), session.number, session.generation)
    session.segment = _engine.Segment.create(session.segment_name, **session.geometry)
    for name, value in session.parameters.items():
        session.segment.set(name, value)


def close(session: Session) -> None:
    """Tell the client that this segment is over, and free its name."""
    if session.segment is not None:
        session.segment.close_by_server()
        session.segment.unlink()
        session.segment = None


def forget_name(session: Session) -> None:
    """Unlink once the client has it mapped: memory without a name can't leak, whoever dies."""
    if session.segment is not None and session.segment.client_pid:
        session.segment.unlink()


def described(session: Session) -> dict[str, Any]:
    """The header of a segment as plain values; what the worker last told, for a remote session."""
    if session.segment is not None:
        return dict(session.segment.describe())
    return session.worker_stats


def remember(session: Session) -> None:
    """Keep what the client has set, for its next segment."""
    if session.segment is not None:
        now = session.segment.describe()
        session.parameters.update({name: now[name] for name in PARAMETERS if name in now and name != "panic"})


def set_parameter(session: Session, name: str, value: float | int) -> None:
    """Write a parameter; `panic` is a counter, so that each one is seen."""
    if name == "panic":
        if value:
            session.segment.set("panic", session.segment.describe()["panic"] + 1)
    else:
        session.segment.set(name, value)


def closed_by_client(session: Session) -> bool:
    return session.segment is not None and bool(session.segment.describe()["closed_by_client"])


def sweep() -> int:
    """Remove what servers that were killed have left behind."""
    return int(_engine.Segment.sweep_stale())
