"""The pitch that meters and screens show."""

from __future__ import annotations

import numpy as np
import pytest

from rtserver.tuner import note_name, pitch_hz, window_frames


def cents(found: float | None, hz: float) -> float:
    assert found is not None
    return abs(1200 * np.log2(found / hz))


def voice(hz: float, rate_hz: int, harmonics: int = 5) -> np.ndarray:
    t = np.arange(rate_hz // 20) / rate_hz
    partials = (np.sin(2 * np.pi * hz * k * t + k) / k for k in range(1, harmonics + 1) if k * hz < rate_hz / 2)
    return sum(partials).astype(np.float32) / 4


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 96000])
@pytest.mark.parametrize("hz", [82.4, 150.0, 440.0, 1046.5])
def test_pitch_of_a_voice_like_sound(hz: float, rate_hz: int) -> None:
    assert cents(pitch_hz(voice(hz, rate_hz), rate_hz), hz) < 15


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 96000])
@pytest.mark.parametrize("hz", [110.0, 440.0, 1500.0])
def test_pitch_of_a_sine(hz: float, rate_hz: int) -> None:
    assert cents(pitch_hz(voice(hz, rate_hz, harmonics=1), rate_hz), hz) < 17


def test_noise_silence_and_too_little_have_none() -> None:
    assert pitch_hz(np.zeros(2400, np.float32), 48000) is None
    assert pitch_hz(np.random.default_rng(0).normal(0, 0.1, 2400).astype(np.float32), 48000) is None
    assert pitch_hz(voice(440.0, 48000)[: window_frames(48000) - 1], 48000) is None


def test_the_nearest_note_and_the_cents_beside_it() -> None:
    assert note_name(440.0) == "A4 +0" and note_name(261.63) == "C4 +0" and note_name(452.8) == "A4 +50"
