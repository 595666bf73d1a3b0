"""Semantic blending, live: a session's decoder plays a mixture of its own latents and another session's.

Both sessions bring sound of their own, as two sources of one network: the microphone and a side-chain, two tracks.
"""

from __future__ import annotations

from collections.abc import Mapping

from rtserver.control.sessions import Session
from rtserver.errors import UserError

NONE = (0.0, 0)


def checked(session: Session, source: Session | None, amount: float, number: int) -> tuple[float, int]:
    """Share of the source's latents and the source's number; NONE when it is switched off.

    UserError unless both sessions play the same model: latents of different encoders mean different things.
    """
    if amount == 0 or number == 0:
        return NONE
    if source is None:
        raise UserError(f"no session {number} to blend with")
    if source is session:
        raise UserError("a session can't be blended with itself; name another one")
    if not session.model.hop_samples:
        raise UserError(f"{session.model.name} has no latents to blend")
    if source.model.name != session.model.name:
        raise UserError(f"session {number} plays {source.model.name}, this one {session.model.name}: blend one model")
    return float(amount), number


def kept(session: Session, sessions: Mapping[int, Session]) -> tuple[float, int]:
    """A session's blend when it starts again, perhaps with another model: NONE if it doesn't fit any more."""
    source = sessions.get(session.blend[1])
    return session.blend if source is not None and source.model.name == session.model.name else NONE
