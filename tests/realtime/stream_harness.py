"""A worker, a bridge and a Python encoder thread in one process, over a real shared-memory segment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle

import numpy as np
import numpy.typing as npt

from rtserver import _engine, latency

Floats = npt.NDArray[np.float32]
Encode = Callable[[Floats], Floats]
_sessions = count(1)


def echo(hop: Floats) -> Floats:
    return hop


class EncoderThread:
    """Latents by `encode`; `pause` makes it stall as a hung encoder would."""

    def __init__(self, worker: _engine.Worker, encode: Encode) -> None:
        self.worker, self.encode = worker, encode
        self._go, self._stop = threading.Event(), False
        self._go.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            self._go.wait()
            item = self.worker.wait_hop(20)
            if item is None:
                continue
            self._go.wait()
            session, epoch, _, hop = item
            self.worker.push_latent(session, epoch, self.encode(hop))

    def pause(self) -> None:
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    def stop(self) -> None:
        self._stop = True
        self._go.set()
        self._thread.join()


@dataclass
class Stream:
    worker: _engine.Worker
    bridge: _engine.Bridge
    segment: _engine.Segment
    parts: latency.LatencyParts
    encoder: EncoderThread
    session: int
    rate: int
    channels: int
    options: dict[str, object] = field(default_factory=dict)

    def play(self, x: Floats, sizes: list[int]) -> Floats:
        """Process x in blocks of these sizes in turn."""
        out, at, turn = [], 0, cycle(sizes)
        while at < len(x):
            size = next(turn)
            out.append(self.bridge.process(x[at : at + size]))
            at += size
        return np.concatenate(out)

    def reopen(self, kind: str) -> None:
        """What a restarted server does: a new segment of the next generation, attached."""
        geometry = self.segment.describe()
        self.segment = make_segment(self.parts, self.rate, self.channels, geometry["max_block_frames"], 2)
        self.worker.open_session(self.session, self.segment, kind)
        self.bridge.attach(self.segment)


def make_segment(
    parts: latency.LatencyParts, rate: int, channels: int, block: int, generation: int = 1, **more: object
) -> _engine.Segment:
    session = next(_sessions)
    name = _engine.Segment.name_for(os.getpid(), session, generation)
    return _engine.Segment.create(
        name,
        session=session,
        generation=generation,
        sample_rate_hz=rate,
        max_block_frames=block,
        channels=channels,
        latency=parts.to_dict(),
        **more,  # type: ignore[arg-type]
    )


@contextmanager
def streaming(
    kind: str,
    rate: int = 48000,
    block: int = 128,
    channels: int = 1,
    *,
    margin: str = "live",
    offline: bool = True,
    encode: Encode = echo,
    ready: bool = True,
    ring_frames: int = 0,
    **session: object,
) -> Iterator[Stream]:
    """Everything up, the epoch begun if `ready`. Offline: nothing is ever missed, so every bit is determined."""
    parts = latency.compute(rate, block, 160, 0, margin, probe=kind if kind != "model" else None)
    segment = make_segment(parts, rate, channels, block, ring_frames=ring_frames)
    worker = _engine.Worker()
    encoder = EncoderThread(worker, encode)
    try:
        worker.open_session(1, segment, kind, **session)  # type: ignore[arg-type]
        bridge = _engine.Bridge(rate, block, channels, parts.reported, parts.fade)
        bridge.offline = offline
        bridge.offline_deadline_ms = 20000
        client = _engine.Segment.open(segment.name)
        bridge.attach(client)
        segment.unlink()
        if ready:
            assert bridge.wait_ready(5000)
        yield Stream(worker, bridge, segment, parts, encoder, 1, rate, channels)
    finally:
        encoder.stop()
        worker.stop()
