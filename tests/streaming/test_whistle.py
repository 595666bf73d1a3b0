"""The whistle synthesiser is a measuring instrument: its pitches, timing and bytes must be what was asked for."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from rtserver import whistle
from rtserver.whistle import Note


def autocorrelation_pitch_hz(x: np.ndarray, rate_hz: int, low_hz: float = 100.0, high_hz: float = 4000.0) -> float:
    """Pitch from the highest autocorrelation peak, with a parabola through it (x: [N])."""
    x = x - x.mean()
    size = 1 << (2 * len(x) - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[: len(x)]
    correlation /= np.arange(len(x), 0, -1)
    first, last = int(rate_hz / high_hz), int(rate_hz / low_hz)
    peaks = [
        lag for lag in range(max(first, 1), last) if correlation[lag - 1] < correlation[lag] >= correlation[lag + 1]
    ]
    lag = next(lag for lag in peaks if correlation[lag] > 0.9 * max(correlation[peaks]))
    left, middle, right = correlation[lag - 1 : lag + 2]
    return float(rate_hz / (lag + 0.5 * (left - right) / (left - 2 * middle + right)))


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_each_note_sounds_at_its_pitch(rate_hz: int, seed: int) -> None:
    notes = [Note(0.1 + 0.5 * i, 0.45, pitch) for i, pitch in enumerate([60, 67, 72, 79, 84, 91])]
    out = whistle.synthesise(notes, rate_hz, seed)
    for note in notes:
        # After the glide, before vibrato: 0.1 to 0.25 s into the note. 20 cents admit the player's drift of +-4.
        middle = out[int((note.onset_s + 0.1) * rate_hz) : int((note.onset_s + 0.25) * rate_hz)]
        cents = 1200 * np.log2(autocorrelation_pitch_hz(middle, rate_hz) / note.frequency_hz)
        assert abs(cents) < 20, (note, cents)


def test_vibrato_comes_late_and_keeps_the_pitch() -> None:
    rate_hz = 48000
    out = whistle.synthesise([Note(0.0, 2.0, 76)], rate_hz, seed=3)
    tracks = []
    for start_s in np.arange(0.1, 1.8, 0.02):
        window = out[int(start_s * rate_hz) : int((start_s + 0.04) * rate_hz)]
        tracks.append(1200 * np.log2(autocorrelation_pitch_hz(window, rate_hz) / Note(0, 1, 76).frequency_hz))
    early, late = np.array(tracks[:5]), np.array(tracks[40:])
    assert np.ptp(late) > 2 * np.ptp(early)
    assert abs(late.mean()) < 20


def test_sounds_only_while_notes_last() -> None:
    rate_hz = 48000
    out = whistle.synthesise([Note(0.5, 0.4, 72), Note(1.5, 0.4, 74)], rate_hz, seed=0)

    def rms(start_s: float, stop_s: float) -> float:
        return float(np.sqrt(np.mean(out[int(start_s * rate_hz) : int(stop_s * rate_hz)] ** 2)))

    assert rms(0.6, 0.85) > 0.1
    assert rms(0.95, 1.05) < rms(0.6, 0.85) / 100
    assert rms(1.2, 1.4) > rms(0.95, 1.05), "the player breathes in before the second note"


def test_same_seed_same_bytes_other_seed_other_performance() -> None:
    notes = whistle.tune("ah-vous-dirai-je")
    first = whistle.synthesise(notes, 16000, seed=5)
    assert first.dtype == np.float32
    assert first.tobytes() == whistle.synthesise(notes, 16000, seed=5).tobytes()
    assert first.tobytes() != whistle.synthesise(notes, 16000, seed=6).tobytes()
    assert np.abs(first).max() < 1.0


def test_one_performance_at_every_rate() -> None:
    notes = whistle.tune()
    low, high = (whistle.synthesise(notes, rate_hz, seed=2) for rate_hz in (16000, 48000))
    assert abs(len(high) - 3 * len(low)) <= 3
    envelopes = [np.sqrt(np.mean(x[: len(x) // 100 * 100].reshape(100, -1) ** 2, axis=1)) for x in (low, high)]
    assert np.corrcoef(*envelopes)[0, 1] > 0.999


@pytest.mark.parametrize("name", whistle.TUNES)
def test_tunes_are_monophonic(name: str) -> None:
    notes = whistle.tune(name)
    assert all(a.end_s <= b.onset_s + 1e-9 for a, b in itertools.pairwise(notes))
    assert all(note.duration_s > 0.1 for note in notes)


def test_overlap_is_cut_and_odd_notes_are_refused() -> None:
    overlapping = whistle.synthesise([Note(0.0, 3.0, 70), Note(0.5, 0.5, 74)], 16000)
    assert len(overlapping) == round((1.0 + 0.5) * 16000)
    assert len(whistle.synthesise([], 16000)) == 8000
    with pytest.raises(ValueError, match="finite"):
        whistle.synthesise([Note(0.0, 1.0, float("nan"))])
    with pytest.raises(ValueError, match="ode-to-joy"):
        whistle.tune("moonlight")


def test_faster_than_fifty_times_real_time() -> None:
    notes = whistle.tune()
    fastest_s = np.inf
    for _ in range(5):
        started_s = time.process_time()
        out = whistle.synthesise(notes, 48000)
        fastest_s = min(fastest_s, time.process_time() - started_s)
    assert len(out) / 48000 / fastest_s > 50
