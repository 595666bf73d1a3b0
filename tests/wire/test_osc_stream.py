"""Remote audio over 127.0.0.1: a bridge, its link, a hub and a worker session, and a network that misbehaves between.

Offline bridges wait for every block, so these tests don't depend on the machine's speed.
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
import pytest
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


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "sealed"])
@pytest.mark.parametrize("block", [64, 441, 1024])
def test_loopback_is_exact_at_the_reported_latency(key: bytes | None, block: int) -> None:
    audio = noise(RATE // 2)
    with rig(key=key, block=block) as r:
        out = r.play(audio, block)
        latency = r.parts.reported
        np.testing.assert_array_equal(out[:latency], 0)
        np.testing.assert_array_equal(out[latency:], audio[:-latency])
        assert r.link.stats()["packets_lost"] == r.link.stats()["frames_concealed_server"] == 0
        assert r.bridge.stats()["misses"] == 0
        assert sum(r.hub.stats()["refused"].values()) == 0
        assert r.worker.stats(SESSION)["client_heartbeat_age_ms"] < 1000  # or the server would end the session


def test_stereo_travels_as_its_mean() -> None:
    audio = noise(RATE // 4, channels=2)
    with rig(channels=2) as r:
        out = r.play(audio)
        mean = 0.5 * (audio[:, 0] + audio[:, 1])
        latency = r.parts.reported
        for channel in range(2):
            np.testing.assert_array_equal(out[latency:, channel], mean[:-latency])


def test_the_network_probe_hears_the_same_as_over_shared_memory() -> None:
    """Same input from the start of the epoch, same samples: the transport leaves no trace."""
    audio = noise(RATE // 4)
    with rig(kind="identity16k") as r:
        remote = r.play(audio)[r.parts.reported :, 0]
    intake = _engine.Intake(RATE, 1, 160, "linear")
    renderer = _engine.Renderer(RATE, 160, None, 0)
    intake.push(audio)
    intake.finish()
    local = []
    while (hop := intake.pop_hop()) is not None:
        local.append(renderer.push(hop))
    np.testing.assert_array_equal(remote, np.concatenate([*local, renderer.flush()])[: len(remote)])


def swapped_and_doubled() -> Fate:
    """Lets every third packet wait for the one after it (signs of life come when nothing else does), doubles some."""
    held: list[bytes] = []

    def fate(datagram: bytes, chance: random.Random) -> list[tuple[float, bytes]]:
        if not held and chance.random() < 0.33:
            held.append(datagram)
            return []
        now = [datagram] * (2 if chance.random() < 0.1 else 1) + held
        held.clear()
        return [(0.0, piece) for piece in now]

    return fate


def test_reordered_and_doubled_packets_change_no_bit() -> None:
    audio = noise(RATE // 2)
    with rig(key=KEY, up=swapped_and_doubled(), down=swapped_and_doubled(), jitter_ms=40.0) as r:
        out = r.play(audio)
        np.testing.assert_array_equal(out[r.parts.reported :], audio[: -r.parts.reported])
        assert r.hub.stats()["refused"]["replayed"] > 0  # doubled and sealed: the copy is a replay
        assert r.link.stats()["frames_concealed"] == r.link.stats()["frames_concealed_server"] == 0


def test_without_a_key_doubled_packets_are_duplicates() -> None:
    with rig(down=lambda datagram, _: [(0.0, datagram), (0.0, datagram)]) as r:
        audio = noise(RATE // 4)
        out = r.play(audio)
        np.testing.assert_array_equal(out[r.parts.reported :], audio[: -r.parts.reported])
        assert r.link.stats()["packets_duplicate"] > 0


def drop(*numbers: int) -> Fate:
    """Loses the audio packets of these numbers."""
    seen = iter(range(10**9))

    def fate(datagram: bytes, _: random.Random) -> list[tuple[float, bytes]]:
        return [] if b"/audio" in datagram and next(seen) in numbers else [(0.0, datagram)]

    return fate


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_bounce_with_a_hole_fails_loudly(direction: str) -> None:
    with (
        rig(jitter_ms=5.0, **{direction: drop(40)}) as r,
        pytest.raises(RuntimeError),
    ):
        r.play(noise(RATE // 2))


def test_an_outage_ends_with_sound_again() -> None:
    """In real time, roughly: what is late is a miss, which this test allows as long as it ends."""
    cut = threading.Event()

    def cuttable(datagram: bytes, _: random.Random) -> list[tuple[float, bytes]]:
        return [] if cut.is_set() else [(0.0, datagram)]

    with rig(kind="identity16k", up=cuttable, down=cuttable) as r:
        tone = np.sin(np.arange(BLOCK) / 20).astype(np.float32)[:, None]
        r.bridge.offline = False
        assert r.bridge.wait_ready(5000)

        def blocks_until(enough: Callable[[int], bool], limit_s: float = 10.0) -> bool:
            """enough: given how many blocks in a row were there."""
            in_a_row, missed = 0, r.bridge.stats()["misses"]
            due = time.monotonic()
            for _ in range(int(limit_s * RATE / BLOCK)):
                r.bridge.process(tone)
                misses = r.bridge.stats()["misses"]
                in_a_row, missed = (in_a_row + 1 if misses == missed else 0), misses
                if enough(in_a_row):
                    return True
                due += BLOCK / RATE
                time.sleep(max(0.0, due - time.monotonic()))
            return False

        assert blocks_until(lambda there: there > 50)
        cut.set()
        assert blocks_until(lambda _: r.bridge.stats()["misses_by_cause"]["server"] > 20)
        cut.clear()
        assert blocks_until(lambda there: there > 50)


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


def test_a_hole_beyond_the_window_is_skipped() -> None:
    """The server starts anew inside of the client's epoch, rather than making up for seconds of silence."""
    with rig() as r:
        r.bridge.detach()
        r.link.stop()
        client = BareClient(r.hub.port)
        client.ready(1)
        tone = noise(BLOCK)[:, 0]
        client.send("audio", 1, 0, tone)
        reply = client.hear("audio.reply")
        assert (reply["frame"], reply["concealed"]) == (0, 0)
        jump = 10 * RATE
        client.send("audio", 1, jump, tone)  # tells the server of the hole
        client.ready(1)
        assert wait_for(lambda: r.server_segment.get("epoch_ready") == 2)
        client.ready(1)
        client.send("audio", 1, jump + BLOCK, tone)
        reply = client.hear("audio.reply")
        assert (reply["frame"], reply["concealed"]) == (jump + BLOCK, jump)
        np.testing.assert_array_equal(reply["audio"], tone)
        client.socket.close()


def test_a_packet_lost_on_the_way_up_is_concealed() -> None:
    with rig() as r:
        r.bridge.detach()
        r.link.stop()
        client = BareClient(r.hub.port)
        client.ready(1)
        ones = np.ones(BLOCK, np.float32)
        for index in (0, 2, 3, 4, 5, 6):  # waits for half of 20 ms: 480 frames, 4 packets
            client.send("audio", 1, index * BLOCK, ones)
        heard: list[Audio] = []
        while sum(map(len, heard)) < 4 * BLOCK:
            reply = client.hear("audio.reply")
            assert reply["frame"] == sum(map(len, heard))
            heard.append(reply["audio"])  # type: ignore[arg-type]
        assert reply["concealed"] == BLOCK
        sound = np.concatenate(heard)
        np.testing.assert_array_equal(sound[:BLOCK], 1)
        np.testing.assert_array_equal(sound[BLOCK + 48 : 2 * BLOCK], 0)
        np.testing.assert_array_equal(sound[2 * BLOCK + 48 :], 1)
        assert np.max(np.abs(np.diff(sound))) < 0.05  # 1 ms of fade
        assert r.server_segment.get("frames_concealed") == BLOCK
        assert r.server_segment.get("packets_lost") == 1
        client.send("audio", 1, BLOCK, ones)
        assert wait_for(lambda: r.server_segment.get("packets_late") == 1)
        client.socket.close()


def test_the_first_packet_lost_moves_nothing() -> None:
    with rig() as r:
        r.bridge.detach()
        r.link.stop()
        client = BareClient(r.hub.port)
        client.ready(1)
        ones = np.ones(BLOCK, np.float32)
        for index in range(1, 8):
            client.send("audio", 1, index * BLOCK, ones)
        reply = client.hear("audio.reply")
        assert reply["frame"] == 0
        np.testing.assert_array_equal(reply["audio"][:BLOCK], 0)  # type: ignore[index]
        client.socket.close()


def test_a_packet_lost_on_the_way_down_is_concealed() -> None:
    """Against a server by hand, which answers before it is asked: every block is there, none depends on timing."""
    parts = compute(RATE, BLOCK, 160, 0, "live", jitter_ms=20.0, probe="loopback")
    segment = _engine.Segment.create(
        None,
        session=SESSION,
        sample_rate_hz=RATE,
        max_block_frames=BLOCK,
        channels=1,
        latency=parts.to_dict(),
        transport="remote",
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5.0)
        link = _engine.RemoteLink(segment, "127.0.0.1", server.getsockname()[1], SESSION, None, parts.jitter)
        bridge = _engine.Bridge(RATE, BLOCK, 1, parts.reported, parts.fade)
        bridge.attach(segment)

        def until(kind: str) -> None:
            while True:
                datagram, client = server.recvfrom(2048)
                found = _engine.parse_audio(datagram)
                assert isinstance(found, dict)
                if found["kind"] == "epoch":
                    if not found["epoch"]:
                        continue  # a sign of life before the first epoch
                    server.sendto(_engine.encode_audio("epoch.reply", SESSION, found["epoch"]), client)
                if found["kind"] == kind:
                    break
            clients.append(client)

        clients: list[tuple[str, int]] = []
        silence = np.zeros((BLOCK, 1), np.float32)
        bridge.wait_ready(0)
        until("epoch")
        assert bridge.wait_ready(5000)
        out = [bridge.process(silence)]
        until("audio")
        ones = np.ones(BLOCK, np.float32)
        for index in [i for i in range(20) if i != 5]:
            server.sendto(
                _engine.encode_audio("audio.reply", SESSION, 1, index * BLOCK, ones, concealed=7), clients[-1]
            )
        assert wait_for(lambda: segment.get("output_write_frame") == 20 * BLOCK)
        out += [bridge.process(silence) for _ in range(18 + parts.reported // BLOCK)]
        sound = np.concatenate(out)[parts.reported :, 0]
        np.testing.assert_array_equal(sound[: 5 * BLOCK], 1)
        np.testing.assert_array_equal(sound[5 * BLOCK + 48 : 6 * BLOCK], 0)
        np.testing.assert_array_equal(sound[6 * BLOCK + 48 : 18 * BLOCK], 1)
        stats = link.stats()
        assert (stats["packets_lost"], stats["frames_concealed"], stats["frames_concealed_server"]) == (1, BLOCK, 7)
        assert bridge.stats()["misses"] == 0
        bridge.detach()
        link.stop()


def test_messages_of_an_epoch_that_is_over_are_not_obeyed() -> None:
    with rig() as r:
        r.bridge.detach()
        r.link.stop()
        client = BareClient(r.hub.port)
        tone = noise(BLOCK)[:, 0]
        client.ready(1)
        client.ready(2)
        client.send("epoch", 1)
        client.send("audio", 1, 0, tone)
        client.send("audio", 2, 0, -tone)
        reply = client.hear("audio.reply")
        assert reply["epoch"] == 2
        np.testing.assert_array_equal(reply["audio"], -tone)
        client.socket.close()


def test_a_reset_starts_a_new_epoch_at_the_server_too() -> None:
    audio = noise(RATE // 4)
    with rig(kind="identity16k", key=KEY) as r:
        first = r.play(audio)
        r.bridge.reset()
        second = r.play(audio)
        assert np.any(first)
        np.testing.assert_array_equal(first, second)
        assert r.server_segment.get("epoch_running") == 2


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_hostile_datagrams_are_dropped_and_counted() -> None:
    with rig(key=KEY) as r, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as enemy:
        audio = noise(RATE // 4)
        out = r.play(audio)
        assert wait_for(lambda: r.hub.stats()["packets_received"] >= len(r.network.sent_up))
        address = ("127.0.0.1", r.hub.port)
        tone = np.ones(10, np.float32)
        now_us = time.time_ns() // 1000
        recorded = r.network.sent_up[-1]
        for datagram in (
            b"",
            b"hello",
            bytes(2000),
            _engine.encode_audio("audio", SESSION, 1, 0, tone),
            _engine.encode_audio("audio", SESSION, 1, 0, tone, key=b"other", nonce=now_us),
            _engine.encode_audio("audio", SESSION, 1, 0, tone, key=KEY, nonce=now_us - 61_000_000),
            _engine.encode_audio("audio.reply", SESSION, 1, 0, tone, key=KEY, nonce=now_us),
            _engine.encode_audio("audio", SESSION + 1, 1, 0, tone, key=KEY, nonce=now_us),
            recorded,
        ):
            enemy.sendto(datagram, address)
        expected = {
            "malformed": 3,
            "unsealed": 1,
            "forged": 1,
            "stale": 1,
            "misplaced": 1,
            "unknown_session": 1,
            "replayed": 1,
        }
        assert wait_for(lambda: r.hub.stats()["refused"] == expected), r.hub.stats()
        more = r.play(audio)
        np.testing.assert_array_equal(
            np.concatenate([out, more])[r.parts.reported :], np.concatenate([audio, audio])[: -r.parts.reported]
        )


def test_the_server_never_answers_who_has_no_key() -> None:
    """The address that audio goes to is the one that an authentic packet last came from."""
    with rig(key=KEY) as r, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as enemy:
        enemy.settimeout(0.2)
        r.play(noise(BLOCK * 4))
        for _ in range(20):
            enemy.sendto(_engine.encode_audio("epoch", SESSION, 1), ("127.0.0.1", r.hub.port))
            enemy.sendto(r.network.sent_up[0], ("127.0.0.1", r.hub.port))
        r.play(noise(BLOCK * 4))
        with pytest.raises(TimeoutError):
            enemy.recv(2048)


def test_the_wrong_key_never_gets_ready() -> None:
    with rig(key=b"wrong", hub_key=KEY) as r:
        assert not r.bridge.wait_ready(200)
        assert r.hub.stats()["refused"]["forged"] > 0


def test_a_removed_session_is_gone_and_may_come_back() -> None:
    with rig(key=KEY) as r:
        audio = noise(RATE // 4)
        r.play(audio)
        recorded = list(r.network.sent_up)
        assert wait_for(lambda: r.hub.stats()["packets_received"] >= len(recorded))
        assert r.hub.remove(SESSION)
        assert not r.hub.remove(SESSION)
        assert r.server_segment.get("closed_by_client") == 1
        with pytest.raises(RuntimeError):
            r.bridge.offline_deadline_ms = 300
            r.play(audio)
        # What was said in the session's earlier life is not obeyed in the next.
        segment = _engine.Segment.create(
            None, session=SESSION, sample_rate_hz=RATE, max_block_frames=BLOCK, channels=1, latency=r.parts.to_dict()
        )
        r.link.stop()
        before = r.hub.stats()["refused"]["replayed"]
        r.hub.add(SESSION, segment, r.parts.jitter)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as enemy:
            for datagram in recorded:
                enemy.sendto(datagram, ("127.0.0.1", r.hub.port))
        assert wait_for(lambda: r.hub.stats()["refused"]["replayed"] == before + len(recorded))
        assert segment.get("epoch_requested") == 0


def test_bad_arguments_are_refused() -> None:
    segment = _engine.Segment.create(
        None,
        sample_rate_hz=RATE,
        max_block_frames=BLOCK,
        channels=1,
        latency=compute(RATE, BLOCK, 160, 0, "live", probe="loopback").to_dict(),
    )
    hub = _engine.RemoteHub("127.0.0.1", 0, None)
    with pytest.raises(ValueError, match="session"):
        hub.add(0, segment, 0)
    hub.add(1, segment, 0)
    with pytest.raises(ValueError, match="open already"):
        hub.add(1, segment, 0)
    with pytest.raises(RuntimeError, match=f"port {hub.port}"):
        _engine.RemoteHub("127.0.0.1", hub.port, None)
    with pytest.raises(RuntimeError, match="not known"):
        _engine.RemoteLink(segment, "no.such.host.invalid", 1, 1, None, 0)
    with pytest.raises(ValueError, match="key"):
        _engine.RemoteHub("127.0.0.1", 0, b"")
    hub.stop()
