"""The control process's view of a session's shared memory: it makes it, reads its statistics, sets its parameters."""

from __future__ import annotations

import os
from typing import Any

from rtserver import _engine
from rtserver.control.models import ServedModel
from rtserver.control.sessions import Session
from rtserver.worker.messages import FLOAT_PARAMETERS

PARAMETERS = (
    *FLOAT_PARAMETERS,
    "bypass",
    "fallback",
    "decoder",
    "seed",
)  # fields of the header; `panic` is a counter beside them
FALLBACKS = ("dry", "silence")


def create(session: Session, offline: bool = False) -> None:
    """Make the segment of the session's next generation, with its parameters already in it.

    offline: a bounce, until the client says otherwise.
    """
    session.segment_name = _engine.Segment.name_for(os.getpid(), session.number, session.generation)
    session.segment = _engine.Segment.create(session.segment_name, **session.geometry)
    for name, value in session.parameters.items():
        session.segment.set(name, typed(name, value))
    session.segment.set("offline", int(offline))


def typed(name: str, value: float | int) -> float | int:
    """A parameter's value in the type of its field."""
    return float(value) if name in FLOAT_PARAMETERS else int(value)


def number_of(model: ServedModel, name: str, value: float | int | str) -> float | int:
    """What is written for a parameter's value: names become indices. UserError if the model has no such decoder."""
    if name == "decoder":
        return model.decoder_index(value if isinstance(value, str) else int(value))
    if name == "fallback" and isinstance(value, str):
        return FALLBACKS.index(value)
    return value if not isinstance(value, str) else float(value)


def close(session: Session) -> None:
    """Tell the client that this segment is over, and free its name."""
    if session.segment is not None:
        session.segment.set("closed_by_server", 1)
        session.segment.unlink()
        session.segment = None


def forget_name(session: Session) -> None:
    """Unlink once the client has it mapped: memory without a name can't leak, whoever dies."""
    if session.segment is not None and session.segment.get("client_pid"):
        session.segment.unlink()


def described(session: Session) -> dict[str, Any]:
    """The header of a segment as plain values; what the worker last told, for a remote session."""
    if session.segment is None:
        return session.worker_stats
    header = dict(session.segment.describe())
    header["misses_by_cause"] = dict(zip(_engine.MISS_CAUSES, header["misses_by_cause"], strict=True))
    return header


def remember(session: Session) -> None:
    """Keep what the client has set, for its next segment."""
    if session.segment is not None:
        session.parameters.update({name: session.segment.get(name) for name in PARAMETERS})


def set_parameter(session: Session, name: str, value: float | int) -> None:
    """Write a parameter; `panic` is a counter, so that each one is seen."""
    if name == "panic":
        session.segment.set(name, (session.segment.get(name) + int(value)) % 2**32)
    else:
        session.segment.set(name, typed(name, value))


def closed_by_client(session: Session) -> bool:
    return session.segment is not None and bool(session.segment.get("closed_by_client"))


def plays_live(session: Session) -> bool:
    """Whether the client has begun a stream that is no bounce."""
    if session.segment is not None:
        return bool(session.segment.get("epoch_requested")) and not session.segment.get("offline")
    return bool(session.worker_stats.get("epoch")) and not session.worker_stats.get("offline", 1)


def sweep() -> int:
    """Remove what servers that were killed have left behind."""
    return int(_engine.Segment.sweep_stale())
