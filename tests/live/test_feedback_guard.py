"""The guard against howling, in simulated rooms; and music, which it must leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from rtserver import _engine
from rtserver.demo.clip import melody

RATE, BLOCK = 48000, 128
LOOP_MS = 45.0  # session, drivers and a metre of air


def sing_into_room(
    gain_db: float, seconds: float, source: np.ndarray, guard: bool = True, loop_ms: float = LOOP_MS
) -> tuple[np.ndarray, _engine.LivePath]:
    """What leaves the loudspeaker when the microphone hears `source` and the loudspeaker, gain_db in all around."""
    latency = 1105
    bridge = _engine.Bridge(RATE, BLOCK, 1, latency, 48)  # without a server: the input, delayed
    live = _engine.LivePath(bridge, rate_hz=RATE, max_block=BLOCK, output_channels=1)
    live.set_guard(guard)
    rest = max(BLOCK, round(loop_ms * RATE / 1000) - latency)
    blocks = int(seconds * RATE / BLOCK)
    source = np.pad(source, (0, max(0, blocks * BLOCK - len(source))))
    air = np.zeros(rest + blocks * BLOCK, np.float32)
    gain = np.float32(10 ** (gain_db / 20))
    out = np.zeros(blocks * BLOCK, np.float32)
    for k in range(blocks):
        at = k * BLOCK
        microphone = np.clip(source[at : at + BLOCK] + air[at : at + BLOCK], -1.0, 1.0).astype(np.float32)
        played = live.duplex(microphone)[:, 0]
        out[at : at + BLOCK] = played
        air[at + rest : at + rest + BLOCK] = gain * played
    return out, live


def level_db(frames: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(frames, dtype=np.float64)) + 1e-12))


def clap() -> np.ndarray:
    """Something that starts the loop: 20 ms of noise at -20 dB, after a tenth of a second."""
    burst = np.random.default_rng(3).normal(0, 0.1, RATE // 50)
    return np.concatenate([np.zeros(RATE // 10), burst]).astype(np.float32)


@pytest.mark.parametrize("gain_db", [1.5, 3.0, 6.0, 12.0])
@pytest.mark.parametrize("loop_ms", [30.0, 45.0, 80.0])
def test_a_howl_is_caught_in_under_half_a_second(gain_db: float, loop_ms: float) -> None:
    free, _ = sing_into_room(gain_db, 3.0, clap(), guard=False, loop_ms=loop_ms)
    loud = level_db(free[-RATE // 2 :]) > -12.0
    out, live = sing_into_room(gain_db, 3.0, clap(), loop_ms=loop_ms)
    if loud:
        assert live.counted()["howls"] >= 1
    # From the moment it is loud (-20 dB over 20 ms), half a second.
    windows = out[: len(out) // 960 * 960].reshape(-1, 960)
    levels = np.array([level_db(window) for window in windows])
    loud_ones = np.flatnonzero(levels > -20.0)
    late = loud_ones[loud_ones > loud_ones[0] + 25] if len(loud_ones) else []
    assert len(late) == 0 or not loud, f"loud at {levels[late]} dB, {0.02 * (late - loud_ones[0])} s after it began"


def test_a_broken_loop_stays_broken() -> None:
    out, live = sing_into_room(3.0, 20.0, np.tile(np.concatenate([clap(), np.zeros(RATE, np.float32)]), 20))
    seconds = [level_db(out[at : at + RATE]) for at in range(2 * RATE, 20 * RATE, RATE)]
    assert max(seconds) < -12.0, seconds
    assert live.counted()["howls"] <= 8


def crescendo(seconds: float = 3.0, low_db: float = -50.0, high_db: float = -6.0) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    rise = 10 ** ((low_db + (high_db - low_db) * t / seconds) / 20)
    return (rise * sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 6)) / 2).astype(np.float32)


def steady(seconds: float = 6.0) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.7 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


@pytest.mark.parametrize(
    "sound, probes",
    [(melody(RATE), 0), (crescendo(), 2), (steady(), 2), (0.8 * np.tile(clap(), 20), 0)],
    ids=["melody", "crescendo", "steady", "claps"],
)
def test_music_is_no_howl(sound: np.ndarray, probes: int) -> None:
    """Through headphones nothing comes back: at most a dip now and then, never a duck."""
    out, live = sing_into_room(-120.0, len(sound) / RATE, sound.astype(np.float32))
    seen = live.counted()
    assert seen["howls"] == 0
    assert seen["probes"] <= probes
    assert level_db(out) > level_db(sound) - (4.0 if probes else 1.5)


def test_speakers_at_a_safe_distance_are_left_alone() -> None:
    """6 dB below howling: the loop only colours the sound."""
    _, live = sing_into_room(-6.0, 6.0, melody(RATE)[: 6 * RATE])
    assert live.counted()["howls"] == 0
