"""Remote audio over 127.0.0.1, end to end: what a bridge hears through its link, whatever the network does."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from rtserver import _engine
from rtserver.latency import compute
from tests.wire.remote_rig import (
    BLOCK,
    KEY,
    RATE,
    SESSION,
    Fate,
    noise,
    rig,
    wait_for,
)


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


def test_a_reset_starts_a_new_epoch_at_the_server_too() -> None:
    audio = noise(RATE // 4)
    with rig(kind="identity16k", key=KEY) as r:
        first = r.play(audio)
        r.bridge.reset()
        second = r.play(audio)
        assert np.any(first)
        np.testing.assert_array_equal(first, second)
        assert r.server_segment.get("epoch_running") == 2
