"""What the page is shown: meters twenty times a second, the status four times, and only while somebody looks.

It reads copies of the newest frames out of the shared memory that the control process has mapped anyway. The audio
worker does nothing for it, but for remote sessions, whose audio is nowhere else: it puts some into its reports.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtserver.control import segments, status
from rtserver.control.sessions import Session
from rtserver.latency import NETWORK_RATE_HZ
from rtserver.worker.messages import Listen

if TYPE_CHECKING:
    from rtserver.control.server import Server

FRAMES_PER_SECOND = 20
STATUS_EVERY = 5  # of these


@dataclass
class _Work:
    """A session's counters when they were last looked at."""

    hops: int = 0
    encoder_ns: int = 0
    decoder_ns: int = 0


class Feed:
    """Reads meters and status of a server. numpy is imported with the first look."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._work: dict[int, _Work] = {}
        self._compute: dict[int, dict[str, float] | None] = {}

    def meters(self, watched: set[int]) -> dict[str, Any]:
        """Levels of every session; spectra and pitch of those watched. Bytes as base64."""
        return {
            "meters": {
                str(session.number): self._meters(session, session.number in watched)
                for session in self._server.sessions.values()
                if session.segment is not None or session.number in self._server.report.heard
            }
        }

    def _meters(self, session: Session, closely: bool) -> dict[str, Any]:
        from rtserver import tuner
        from rtserver.dashboard import meters

        wanted = max(tuner.window_frames(session.rate_hz), session.rate_hz // FRAMES_PER_SECOND)
        if session.segment is not None:
            rings = [session.segment.recent(ring, wanted) for ring in ("input", "output")]
        else:  # of a remote session, four times a second
            rings = list(self._server.report.heard[session.number])
        shown: dict[str, Any] = {}
        for frames, name in zip(rings, ("in", "out"), strict=True):
            shown[name] = meters.levels_db(frames)
            if not closely:
                continue
            audio = meters.mono(frames) if len(frames) else frames[:, 0]
            shown[f"{name}_spectrum"] = base64.b64encode(meters.spectrum(audio, session.rate_hz)).decode()
            if name == "in":
                pitch = tuner.pitch_hz(audio, session.rate_hz)
                shown["pitch_hz"] = pitch and round(pitch, 1)
        return shown

    def status(self) -> dict[str, Any]:
        """The status as everywhere, and for each session its latest compute time and its queues."""
        if any(session.remote for session in self._server.sessions.values()):
            self._server.supervisor.send(Listen())
        told = status.snapshot(self._server)
        for shown in told["sessions"]:
            session = self._server.sessions[shown["session"]]
            header = segments.described(session)
            shown["compute_us"] = self._compute_us(session, header)
            shown["hop_us"] = round(1e6 * session.model.hop_samples / NETWORK_RATE_HZ)
            shown["queues_frames"] = queues(header)
            shown["decoders"] = list(session.model.decoders)
        for number in self._work.keys() - self._server.sessions.keys():
            del self._work[number], self._compute[number]
        return {"status": told, "time": time.time()}

    def _compute_us(self, session: Session, header: dict[str, Any]) -> dict[str, float] | None:
        """Mean time a hop since the last look; what it was then, while no hop came."""
        now = _Work(*(int(header.get(name, 0)) for name in ("hops", "encoder_ns", "decoder_ns")))
        before = self._work.get(session.number, _Work())
        hops = now.hops - before.hops
        if hops < 0:  # another generation
            before, hops = _Work(), now.hops
        if hops > 0:
            self._compute[session.number] = {
                "encoder": round((now.encoder_ns - before.encoder_ns) / 1000 / hops, 1),
                "decoder": round((now.decoder_ns - before.decoder_ns) / 1000 / hops, 1),
            }
        self._work[session.number] = now
        return self._compute.setdefault(session.number, None)


def queues(header: dict[str, Any]) -> dict[str, int] | None:
    """Host frames on their way: handed in and not yet taken, encoded and not yet rendered, rendered and not yet read.

    None where the control process can't see them, or nothing runs.
    """
    if not header.get("epoch_running") or header["epoch_running"] != header.get("epoch_live"):
        return None
    written, read, encoded = (int(header[f"{name}_frame"]) for name in ("input_write", "input_read", "encoded"))
    rendered, taken = (int(header[f"output_{name}_frame"]) for name in ("write", "read"))
    return {"intake": max(0, written - read), "decoder": max(0, encoded - rendered), "ready": max(0, rendered - taken)}
