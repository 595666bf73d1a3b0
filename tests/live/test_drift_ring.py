"""Two clocks: the ring between capture and playback keeps its delay and its shape."""

from __future__ import annotations

import numpy as np
import pytest

from rtserver import _engine

RATE = 48000
TICK_NS = 128 * 10**9 // RATE


def run(
    ppm: float, seconds: float, source: np.ndarray, capture: int = 256, playback: int = 128, target: int = 600
) -> tuple[np.ndarray, list[dict[str, float]], _engine.DriftRing]:
    """Capture at the nominal rate, playback slower by ppm, in simulated time; what was played, and figures."""
    ring = _engine.DriftRing(1, RATE, target)
    period_in, period_out = capture / RATE, playback / RATE * (1 + ppm * 1e-6)
    next_in, next_out, at = period_in, period_out, 0
    played, figures = [], []
    while min(next_in, next_out) < seconds:
        if next_in <= next_out:
            ring.push(source[at : at + capture], round(1e9 * next_in))
            at += capture
            next_in += period_in
        else:
            played.append(ring.pull(playback, round(1e9 * next_out))[:, 0])
            next_out += period_out
            if len(played) % 50 == 0:
                figures.append(ring.stats())
    return np.concatenate(played), figures, ring


@pytest.mark.parametrize("ppm, seconds", [(200.0, 600.0), (-200.0, 60.0)])
def test_two_hundred_ppm_for_ten_minutes(ppm: float, seconds: float) -> None:
    source = np.resize((0.5 * np.sin(2 * np.pi * 100 * np.arange(480) / RATE)).astype(np.float32), 602 * RATE)
    played, figures, ring = run(ppm, seconds, source, capture=1024, playback=1024, target=2200)
    stats = ring.stats()
    assert stats["starved"] == stats["skips"] == stats["lost"] == 0
    settled = [seen["waiting"] for seen in figures[len(figures) // 4 :]]
    assert max(abs(waiting - 2200) for waiting in settled) < 0.003 * RATE, "latency stays within 3 ms"
    assert np.mean([seen["ppm"] for seen in figures[len(figures) // 4 :]]) == pytest.approx(ppm, abs=20)
    assert np.abs(np.diff(played[RATE:])).max() < 1.05 * 0.5 * 2 * np.pi * 100 / RATE, "no click"


def test_equal_clocks_change_nothing() -> None:
    source = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE).astype(np.float32)
    played, _, ring = run(0.0, 10.0, source)
    assert ring.stats()["skips"] == ring.stats()["starved"] == 0
    start = int(np.flatnonzero(played)[0]) + 480
    piece = played[start : start + RATE]
    match = np.flatnonzero(source == piece[0])
    assert any(np.array_equal(source[at : at + RATE], piece) for at in match)


def test_a_device_that_stood_still_is_caught_up_with() -> None:
    """Playback pauses for 200 ms: what was captured meanwhile is skipped, cross-faded, so the delay is the old one."""
    ring = _engine.DriftRing(1, RATE, 600)
    t = np.arange(20 * RATE)
    source = (0.5 * np.sin(2 * np.pi * 50 * t / RATE)).astype(np.float32)
    at, played = 0, []
    for k in range(3000):
        ring.push(source[at : at + 128], k * TICK_NS)
        at += 128
        if not 1000 <= k < 1075:
            played.append(ring.pull(128, k * TICK_NS + TICK_NS // 2)[:, 0])
    stats = ring.stats()
    assert stats["skips"] == 1 and stats["starved"] == 0
    assert abs(stats["waiting"] - 600) < 0.003 * RATE
    assert np.abs(np.diff(np.concatenate(played))).max() < 0.02


def test_an_empty_ring_is_silence_not_noise() -> None:
    ring = _engine.DriftRing(1, RATE, 600)
    source = (0.5 * np.sin(2 * np.pi * 50 * np.arange(4 * RATE) / RATE)).astype(np.float32)
    at, played = 0, []
    for k in range(1000):
        if not 300 <= k < 400:
            ring.push(source[at : at + 128], k * TICK_NS)
            at += 128
        played.append(ring.pull(128, k * TICK_NS + TICK_NS // 2)[:, 0])
    stats = ring.stats()
    assert stats["starved"] == 1
    whole = np.concatenate(played)
    assert not whole[310 * 128 : 395 * 128].any()
    assert np.abs(whole[450 * 128 :]).max() > 0.45, "and it goes on"
    assert np.abs(np.diff(whole)).max() < 0.02
