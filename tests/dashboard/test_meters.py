"""Meters against signals whose level, spectrum and pitch are known."""

from __future__ import annotations

import numpy as np
import pytest

from rtserver import _engine, latency, tuner
from rtserver.dashboard import meters


def tone(hz: float, rate_hz: int, frames: int, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(frames) / rate_hz)).astype(np.float32)


def test_levels_of_a_sine_of_silence_and_of_nothing() -> None:
    frames = tone(1000.0, 48000, 4800)[:, None]
    assert meters.levels_db(frames) == pytest.approx((-6.0, -9.0), abs=0.1)
    assert meters.levels_db(np.zeros((100, 2), np.float32)) == (meters.FLOOR_DB, meters.FLOOR_DB)
    assert meters.levels_db(np.zeros((0, 1), np.float32)) == (meters.FLOOR_DB, meters.FLOOR_DB)
    assert meters.levels_db(np.full((4, 1), np.nan, np.float32))[0] == meters.FLOOR_DB


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 96000])
@pytest.mark.parametrize("hz", [110.0, 440.0, 1500.0])
def test_spectrum_of_a_sine(rate_hz: int, hz: float) -> None:
    audio = tone(hz, rate_hz, tuner.window_frames(rate_hz))
    bands = np.frombuffer(meters.spectrum(audio, rate_hz), np.uint8)
    assert len(bands) == meters.BANDS
    loudest_hz = meters.LOWEST_HZ * (meters.HIGHEST_HZ / meters.LOWEST_HZ) ** (np.argmax(bands) / meters.BANDS)
    assert abs(loudest_hz - hz) < 1.5 * rate_hz / len(audio) + 0.06 * hz
    assert bands.max() == pytest.approx(255 * (1 - 6.0 / 90.0), abs=5)  # -6 dB, less what lies between two bins


def test_recent_gives_the_newest_frames_of_the_running_epoch_and_no_older_ones() -> None:
    parts = latency.compute(48000, 128, 160, 0, probe="loopback").to_dict()
    segment = _engine.Segment.create(None, sample_rate_hz=48000, max_block_frames=128, channels=2, latency=parts)
    assert segment.recent("input", 100).shape == (0, 2)
    bridge = _engine.Bridge(48000, 128, 2, parts["reported"], parts["fade"])
    worker = _engine.Worker(realtime=False)
    worker.open_session(1, segment, "loopback")
    bridge.attach(segment)
    assert bridge.wait_ready(5000)
    bridge.offline = True
    sent = np.random.default_rng(2).uniform(-1, 1, (1000, 2)).astype(np.float32)
    for at in range(0, 1000, 125):
        bridge.process(sent[at : at + 125])
    assert np.array_equal(segment.recent("input", 300), sent[-300:])
    assert np.array_equal(segment.recent("input", 5000), sent)
    assert np.array_equal(segment.recent("output", 500), sent[: segment.get("output_write_frame")][-500:])
    with pytest.raises(ValueError, match="input or output"):
        segment.recent("both", 10)
    worker.stop()
