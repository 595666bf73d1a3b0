"""How much of a sound is its partials, and how much hiss."""

from __future__ import annotations

import numpy as np
import pytest

from rtserver.pitch import FRAME_S, PitchTrack
from training.evaluate.choosing import Clip, harmonic_db, high_share, summary

RATE_HZ = 16000


def note(f0: float, seconds: float = 1.0) -> tuple[np.ndarray, PitchTrack]:
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    audio = sum(np.sin(2 * np.pi * k * f0 * t) / k for k in range(1, 6))
    frames = round(seconds / FRAME_S)
    return audio, PitchTrack(np.full(frames, f0, np.float32), np.ones(frames, bool))


@pytest.mark.parametrize("level_db", [0.0, 10.0, 20.0])
def test_hiss_is_told_from_partials(level_db: float) -> None:
    """Noise so far below a note: what lies near partials counts for them, the rest, here four fifths, against."""
    audio, track = note(440.0)
    noise = np.random.default_rng(0).standard_normal(len(audio)) * audio.std() * 10 ** (-level_db / 20)
    near = 2 * 40.0 / 440.0
    expected = 10 * np.log10((10 ** (level_db / 10) + near) / (1 - near))
    assert abs(harmonic_db(audio + noise, track) - expected) < 1.5
    assert harmonic_db(audio, track) > 30.0


def test_another_pitch_has_other_partials() -> None:
    audio, _ = note(440.0)
    _, wrong = note(600.0)
    assert harmonic_db(audio, wrong) < 0.0
    silent = PitchTrack(wrong.f0_hz, np.zeros(len(wrong.f0_hz), bool))
    assert np.isnan(harmonic_db(audio, silent))


def test_high_share() -> None:
    t = np.arange(RATE_HZ) / RATE_HZ
    assert high_share(np.sin(2 * np.pi * 500 * t)) < 0.01
    assert abs(high_share(np.sin(2 * np.pi * 500 * t) + np.sin(2 * np.pi * 5000 * t)) - 0.5) < 0.01


def test_a_clip_without_a_pitch_counts_as_silent_not_as_nothing() -> None:
    rows = {"ode": Clip(1.0, 1.0, 0.5, 10.0, 0.1), "song": Clip(0.0, 0.0, 0.0, float("nan"), 0.3)}
    found = summary(rows)
    assert found["product"] == 0.25 and found["harmonic_db"] == 10.0 and found["sounding"] == 0.25
