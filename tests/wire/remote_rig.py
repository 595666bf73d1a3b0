"""A remote session in one process: a bridge, its link, a hub and a worker, a network that misbehaves, a client by hand.

Offline bridges wait for every block, so tests with these don't depend on the machine's speed.
"""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from rtserver import _engine
from rtserver.latency import LatencyParts, compute

KEY = b"correct horse battery staple"
RATE = 48000
BLOCK = 128
SESSION = 5
Audio = NDArray[np.float32]
Fate = Callable[[bytes, random.Random], list[tuple[float, bytes]]]  # datagram -> (delay in seconds, datagram) ...


def noise(frames: int, channels: int = 1) -> Audio:
    random_ = np.random.default_rng(7)
    return (0.3 * random_.standard_normal((frames, channels))).astype(np.float32)


class Network:
    """A UDP relay between link and hub that drops, doubles, delays or bends what passes."""

    def __init__(self, hub_port: int, up: Fate | None = None, down: Fate | None = None) -> None:
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.connect(("127.0.0.1", hub_port))
        self.port: int = self.front.getsockname()[1]
        self.up, self.down = up, down
        self.sent_up: list[bytes] = []
        self.client: tuple[str, int] | None = None
        self.random = random.Random(1)
        self.closing = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        waiting: list[tuple[float, bool, bytes]] = []
        while not self.closing:
            timeout = 0.02 if not waiting else max(0.0, min(w[0] for w in waiting) - time.monotonic())
            for ready in select.select([self.front, self.back], [], [], min(timeout, 0.02))[0]:
                try:
                    datagram, sender = ready.recvfrom(2048)
                except OSError:
                    continue
                going_up = ready is self.front
                if going_up:
                    self.client = sender
                    self.sent_up.append(datagram)
                fate = self.up if going_up else self.down
                for delay, piece in fate(datagram, self.random) if fate else [(0.0, datagram)]:
                    waiting.append((time.monotonic() + delay, going_up, piece))
            now = time.monotonic()
            for item in [w for w in waiting if w[0] <= now]:
                waiting.remove(item)
                if item[1]:
                    self.back.send(item[2])
                elif self.client:
                    self.front.sendto(item[2], self.client)

    def close(self) -> None:
        self.closing = True
        self.thread.join()
        self.front.close()
        self.back.close()


class Rig:
    """Everything of a remote session, in one process."""

    def __init__(
        self,
        kind: str = "loopback",
        channels: int = 1,
        block: int = BLOCK,
        key: bytes | None = None,
        jitter_ms: float = 20.0,
        up: Fate | None = None,
        down: Fate | None = None,
        hub_key: bytes | None = None,
    ) -> None:
        self.parts: LatencyParts = compute(RATE, block, 160, 0, "studio", jitter_ms=jitter_ms, probe=kind)
        geometry = {
            "session": SESSION,
            "sample_rate_hz": RATE,
            "max_block_frames": block,
            "channels": channels,
            "latency": self.parts.to_dict(),
            "transport": "remote",
        }
        self.kind = kind
        self.worker = _engine.Worker()
        self.hub = _engine.RemoteHub("127.0.0.1", 0, hub_key or key)
        self.server_segment = _engine.Segment.create(None, **geometry)
        self.worker.open_session(SESSION, self.server_segment, kind)
        self.hub.add(SESSION, self.server_segment, self.parts.jitter)
        self.network = Network(self.hub.port, up, down)
        self.segment = _engine.Segment.create(None, **geometry)
        self.link = _engine.RemoteLink(self.segment, "127.0.0.1", self.network.port, SESSION, key, self.parts.jitter)
        self.bridge = _engine.Bridge(RATE, block, channels, self.parts.reported, self.parts.fade)
        self.bridge.offline = True
        self.bridge.offline_deadline_ms = 5000
        self.bridge.attach(self.segment)
        self.encoding = threading.Thread(target=self._encode)
        self.open = True
        self.encoding.start()

    def _encode(self) -> None:
        while self.open:
            hop = self.worker.wait_hop(20)
            if hop is not None:
                session, epoch, _, audio = hop
                self.worker.push_latent(session, epoch, audio)

    def play(self, audio: Audio, block: int = BLOCK) -> Audio:
        assert self.bridge.wait_ready(5000)
        out = [self.bridge.process(audio[at : at + block]) for at in range(0, len(audio), block)]
        return np.concatenate(out)

    def close(self) -> None:
        self.bridge.detach()
        self.link.stop()
        self.network.close()
        self.hub.stop()
        self.open = False
        self.encoding.join()
        self.worker.stop()


@contextmanager
def rig(**options: object) -> Iterator[Rig]:
    made = Rig(**options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


class BareClient:
    """Speaks the audio protocol by hand."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(5.0)

    def send(self, kind: str, epoch: int, frame: int = 0, audio: Audio | None = None) -> None:
        self.socket.send(_engine.encode_audio(kind, SESSION, epoch, frame, audio))

    def hear(self, kind: str) -> dict[str, object]:
        while True:
            found = _engine.parse_audio(self.socket.recv(2048))
            assert isinstance(found, dict)
            if found["kind"] == kind:
                return found

    def ready(self, epoch: int) -> None:
        while True:
            self.send("epoch", epoch)
            if self.hear("epoch.reply")["epoch"] == epoch:
                return


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def served_by_hand() -> Iterator[tuple[Rig, BareClient]]:
    """A rig whose bridge and link have made room for a client that speaks by hand."""
    with rig() as r:
        r.bridge.detach()
        r.link.stop()
        client = BareClient(r.hub.port)
        try:
            yield r, client
        finally:
            client.socket.close()
