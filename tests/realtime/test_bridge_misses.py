"""What is heard and counted when the translation isn't there: aligned dry without a click, a cause, and recovery.

A server written here by hand through the header's fields holds back exactly one stage; a real worker is stalled and
killed to see that the stream comes back.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from rtserver import _engine, latency
from tests.realtime.stream_harness import Floats, Stream, streaming

RATE, BLOCK = 48000, 128
TONE_HZ = 100.0


class HandServer:
    """Plays the server's part of the handshake, as far as a test lets it."""

    def __init__(self, transport: str = "shm", ring_frames: int = 4096) -> None:
        self.parts = latency.compute(RATE, BLOCK, 160, 0)
        self.segment = _engine.Segment.create(
            None,
            sample_rate_hz=RATE,
            max_block_frames=BLOCK,
            channels=1,
            latency=self.parts.to_dict(),
            ring_frames=ring_frames,
            transport=transport,
        )
        self.bridge = _engine.Bridge(RATE, BLOCK, 1, self.parts.reported, self.parts.fade)
        self.bridge.attach(self.segment)

    def ready(self) -> None:
        self.segment.set("epoch_ready", self.segment.get("epoch_requested"))

    def run(self) -> None:
        start = self.segment.get("epoch_start_frame")
        for name in ("input_read_frame", "output_write_frame", "encoded_frame"):
            self.segment.set(name, start)
        self.segment.set("epoch_running", self.segment.get("epoch_live"))

    def blocks(self, count: int, pause_s: float = 0.008, **fields: int) -> None:
        for _ in range(count):
            time.sleep(pause_s)
            self.segment.set("server_heartbeat_ns", _engine.monotonic_ns())
            for name, ahead in fields.items():
                self.segment.set(name, self.segment.get("input_write_frame") + ahead)
            self.bridge.process(np.zeros(BLOCK, np.float32))

    def begin(self) -> None:
        self.blocks(1)
        self.ready()
        self.blocks(1)
        self.run()

    def causes(self) -> dict[str, int]:
        return {cause: n for cause, n in self.bridge.stats()["misses_by_cause"].items() if n}


PRIMING = 12  # blocks until the first output frame of an epoch is due, and some


def test_no_answer_is_starting() -> None:
    server = HandServer()
    server.blocks(3)
    assert server.causes() == {"starting": 3}


@pytest.mark.parametrize(
    ("cause", "fields"),
    [
        ("intake", {}),
        ("encoder", {"input_read_frame": 0}),
        ("decoder", {"input_read_frame": 0, "encoded_frame": 0}),
    ],
)
def test_the_stage_that_held_the_block_up_is_named(cause: str, fields: dict[str, int]) -> None:
    server = HandServer()
    server.begin()
    server.blocks(PRIMING)
    before = server.causes()
    server.blocks(3, **fields)
    after = server.causes()
    assert after[cause] - before.get(cause, 0) == 3


def test_remote_is_network() -> None:
    server = HandServer("remote")
    server.begin()
    server.blocks(PRIMING)
    assert server.causes()["network"] >= 1


def test_a_burst_of_the_host_is_the_hosts() -> None:
    server = HandServer()
    server.begin()
    server.blocks(PRIMING)
    before = server.causes()
    server.blocks(6, pause_s=0.0)  # 16 ms of audio at once: the margin is 5 ms
    after = server.causes()
    assert after.get("host", 0) - before.get("host", 0) >= 3


def test_a_full_ring_is_an_overrun_and_asks_for_a_new_epoch() -> None:
    server = HandServer()
    server.begin()
    requested = server.segment.get("epoch_requested")
    server.blocks(40, pause_s=0.001)
    assert server.segment.get("epoch_requested") > requested
    assert server.causes()["overrun"] >= 1
    assert server.segment.get("input_write_frame") - server.segment.get("input_read_frame") <= 4096


def test_a_stale_heartbeat_or_a_closed_segment_is_the_servers() -> None:
    server = HandServer()
    server.begin()
    server.blocks(2)
    server.segment.set("server_heartbeat_ns", _engine.monotonic_ns() - 10**9)
    assert not server.bridge.server_alive
    server.bridge.process(np.zeros(BLOCK, np.float32))
    assert server.causes()["server"] == 1
    server.segment.set("closed_by_server", 1)
    server.blocks(1)
    assert server.causes()["server"] == 2
    server.bridge.detach()
    server.blocks(1)
    assert server.causes()["server"] == 3


# --- the sound of a miss ---


def tone(frames: int) -> Floats:
    return (0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(frames) / RATE)).astype(np.float32)


TONE_STEP = 0.5 * 2 * np.pi * TONE_HZ / RATE


def pace(s: Stream, x: Floats) -> Floats:
    """At a sound card's pace, from Python: the blocks of x."""
    out, due = [], time.perf_counter()
    for at in range(0, len(x), BLOCK):
        out.append(s.bridge.process(x[at : at + BLOCK]))
        due += BLOCK / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
    return np.concatenate(out)


def invert(hop: Floats) -> Floats:
    return -hop


def test_a_stall_is_a_fade_to_aligned_dry_and_back() -> None:
    """The translation is the inverted tone, so any cut or misalignment would be a step of up to 1."""
    x = tone(RATE)
    third = len(x) // 3 // BLOCK * BLOCK
    with streaming("identity16k", offline=False, margin="studio", encode=invert) as s:
        y1 = pace(s, x[:third])
        s.encoder.pause()
        y2 = pace(s, x[third : 2 * third])
        s.encoder.resume()
        y3 = pace(s, x[2 * third :])
        y, stats, parts = np.concatenate([y1, y2, y3]), s.bridge.stats(), s.parts
    dry = np.concatenate([np.zeros(parts.reported, np.float32), x])[: len(x)]
    step = np.abs(np.diff(y)).max()
    assert step < 1.0 / parts.fade + 2 * TONE_STEP, f"a click: {step}"
    assert stats["misses_by_cause"]["encoder"] > 0
    stalled = slice(third + parts.reported, 2 * third - BLOCK)
    np.testing.assert_array_equal(y[stalled], dry[stalled])
    assert np.corrcoef(y[-2000:], dry[-2000:])[0, 1] < -0.9 or stats["misses_by_cause"]["host"] > 0, "it came back"


def test_what_a_stall_made_late_is_passed_over_and_never_heard() -> None:
    """The translation of a constant c is -c: whatever else comes out, but for fades between the two, is a gap."""
    level, stall = 0.25, 130 * RATE // 1000 // BLOCK
    x = np.full(RATE, level, np.float32)
    with streaming("identity16k", offline=False, margin="studio", encode=invert) as s:
        pace(s, x[: RATE // 4])
        s.encoder.pause()
        pace(s, x[: stall * BLOCK])
        time.sleep(0.1)  # the client waits: what is late now stays late
        s.encoder.resume()
        y = pace(s, x[: RATE // 2])
        stats = s.bridge.stats()
        rendered = s.segment.get("hops")
    fades = np.abs(np.abs(y) - level) > 0.02 * level
    assert stats["epochs"] == 1
    assert np.count_nonzero(fades) < 4 * s.parts.fade * (1 + stats["misses_by_cause"]["host"]), "a gap was played"
    assert rendered < (RATE * 3 // 4 + stall * BLOCK) // s.parts.hop - 2, "all of it was rendered"
    assert y[-1] < -0.9 * level or stats["misses_by_cause"]["host"] > 0


@pytest.mark.parametrize("ring_frames", [4096, 0])
def test_after_a_long_stall_a_new_epoch_begins(ring_frames: int) -> None:
    """With a small ring because it overruns, with a large one because catching up would take longer."""
    with streaming("identity16k", offline=False, encode=invert, ring_frames=ring_frames) as s:
        pace(s, tone(4096))
        s.encoder.pause()
        pace(s, tone(20480))
        s.encoder.resume()
        causes = s.bridge.stats()["misses_by_cause"]
        assert causes["overrun" if ring_frames else "encoder"] > 0 or causes["host"] > 0
        for _ in range(10):  # the machine may be busy: some tries
            x = tone(9600)
            y = pace(s, x)
            heard = np.corrcoef(y[-960:], x[-960 - s.parts.reported : -s.parts.reported])[0, 1]
            if heard < -0.9:
                break
        assert heard < -0.9
        assert s.bridge.stats()["epochs"] >= 2
        assert s.segment.get("epoch_running") == s.segment.get("epoch_requested")


def test_a_killed_worker_is_dry_and_a_new_one_is_heard() -> None:
    x = tone(RATE // 2 // BLOCK * BLOCK)
    with streaming("identity16k", offline=False, margin="studio", encode=invert) as s:
        y = [pace(s, x)]
        s.worker.close_session(1)
        y.append(pace(s, x))
        assert s.bridge.stats()["misses_by_cause"]["server"] > 0
        s.bridge.set("output_gain_db", 0.0)
        s.reopen("identity16k")
        y.append(pace(s, x))
        stats = s.bridge.stats()
        whole, dry = np.concatenate(y), np.concatenate([np.zeros(s.parts.reported, np.float32), x, x, x])
    dry = dry[: len(whole)]
    seams = [len(x) + s.parts.reported, 2 * len(x) + s.parts.reported]  # the tone itself starts anew there
    steps = np.abs(np.diff(whole))
    for seam in seams:
        steps[seam - 4 : seam + 4] = 0
    assert steps.max() < 1.0 / s.parts.fade + 2 * TONE_STEP
    dead = slice(len(x) + 2 * BLOCK, 2 * len(x))
    np.testing.assert_array_equal(whole[dead], dry[dead])
    assert stats["epochs"] >= 2 and stats["blocks"] == 3 * len(x) // BLOCK, "statistics outlive the segment"
    assert np.corrcoef(whole[-2000:], dry[-2000:])[0, 1] < -0.9 or stats["misses_by_cause"]["host"] > 0


def test_fallback_silence_and_panic_play_no_dry() -> None:
    with streaming("loopback", offline=False, ready=False) as s:
        s.bridge.set("fallback", 1)
        s.worker.close_session(1)
        y = pace(s, tone(9600))
        assert np.abs(y[4800:]).max() == 0.0
    with streaming("loopback", offline=False, margin="studio") as s:
        before = pace(s, tone(9600))
        assert np.abs(before[-480:]).max() > 0.1
        epochs = s.bridge.stats()["epochs"]
        s.bridge.set("panic", 1)
        after = pace(s, tone(9600))
        assert np.abs(np.diff(after)).max() < 1.0 / s.parts.fade + 2 * TONE_STEP
        assert np.abs(after[2 * s.parts.fade : s.parts.reported]).max() == 0.0
        assert s.bridge.stats()["epochs"] == epochs + 1
