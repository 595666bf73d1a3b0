"""The batched pitch shift against librosa's, which it stands in for."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from training.augment import (
    fade_somewhere,
    ring_somewhere,
    shift_pitch,
    shift_pitch_in_stretches,
)
from training.batches import draw_shift, out_of_tune

RECORDINGS = Path(__file__).parents[2] / "training" / "data" / "recordings"


def reference(audio: np.ndarray, semitones: float) -> np.ndarray:
    return np.stack(
        [
            librosa.effects.pitch_shift(
                row, sr=16000, n_steps=semitones, n_fft=1024, hop_length=256, res_type="soxr_hq"
            )
            for row in audio
        ]
    )


def log_spectral_distance_db(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square over 64 mel bands and the frames away from the edges, of one segment."""
    bands = [
        librosa.feature.melspectrogram(y=y, sr=16000, n_fft=1024, hop_length=256, n_mels=64)[:, 2:-2] for y in (a, b)
    ]
    return float(np.sqrt(np.mean((10 * np.log10((bands[0] + 1e-6) / (bands[1] + 1e-6))) ** 2)))


@pytest.mark.parametrize("semitones", [-0.5, 0.3])
def test_music_is_shifted_as_librosa_does(semitones: float) -> None:
    """Half a second each of piano and of strings: within 1 dB in mel bands, and the waveforms correlate."""
    music = [soundfile.read(RECORDINGS / f"{n}.flac", dtype="float32")[0] for n in ("piano_sms", "strings_brahms_a")]
    audio = np.stack([m[8000:16000] for m in music])
    ours = shift_pitch(torch.from_numpy(audio), torch.full((2,), semitones), 0.5).numpy()
    for row, expected, dry in zip(ours, reference(audio, semitones), audio, strict=True):
        assert log_spectral_distance_db(row, expected) < 1.0
        assert np.corrcoef(row[600:-600], expected[600:-600])[0, 1] > 0.99
        assert np.corrcoef(row[600:-600], dry[600:-600])[0, 1] < 0.9, "it is another sound than before"


def test_a_sweep_is_shifted_as_librosa_does() -> None:
    """A sine that glides from 200 Hz to 1.6 kHz in half a second: its pitch within 3 cents of librosa's."""
    t = np.arange(8000) / 16000
    phase = 2 * np.pi * np.cumsum(200.0 * 8.0 ** (t / 0.5)) / 16000
    audio = np.sin(phase)[None].astype(np.float32)
    for semitones in (-0.5, 0.4):
        ours = shift_pitch(torch.from_numpy(audio), torch.tensor([semitones]), 0.5).numpy()[0]
        assert np.abs(_cents(ours, reference(audio, semitones)[0])).max() < 3.0
        assert np.median(_cents(ours, audio[0])) * semitones > 20.0 * abs(semitones), "and not where it was"


def _cents(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between the frequencies of two sines in frames of 64 ms away from the edges."""
    tracks = []
    for audio in (a, b):
        frames = np.lib.stride_tricks.sliding_window_view(audio[1000:7000], 1024)[::512] * np.hanning(1024)
        spectrum = np.abs(np.fft.rfft(frames, 65536))
        tracks.append(spectrum.argmax(axis=1) * 16000 / 65536)
    return np.asarray(1200 * np.log2(tracks[0] / tracks[1]))


@pytest.mark.parametrize(("hz", "floor_db"), [(440.0, -40.0), (4000.0, -40.0)])
def test_a_steady_sine_stays_pure(hz: float, floor_db: float) -> None:
    semitones = np.array([-0.5, -0.1, 0.25, 0.5])
    audio = torch.sin(2 * np.pi * hz * torch.arange(8000) / 16000).expand(4, -1)
    shifted = shift_pitch(audio, torch.tensor(semitones), 0.5).numpy()[:, 1500:6500].astype(np.float64)
    t = np.arange(5000) / 16000
    for row, semitone in zip(shifted, semitones, strict=True):
        w = 2 * np.pi * hz * 2 ** (semitone / 12) * t
        basis = np.stack([np.sin(w), np.cos(w)], axis=1)
        fit = basis @ np.linalg.lstsq(basis, row, rcond=None)[0]
        assert 10 * np.log10(np.mean((row - fit) ** 2) / np.mean(fit**2)) < floor_db, semitone


def test_every_row_has_its_own_stretch_and_shift() -> None:
    audio = torch.sin(2 * np.pi * 440.0 * torch.arange(16000) / 16000).expand(3, -1).contiguous()
    starts, lengths = torch.tensor([2000, 12000, 5000]), torch.tensor([8000, 4000, 0])
    out = shift_pitch_in_stretches(audio, starts, lengths, torch.tensor([0.5, -0.5, 0.5]))
    changed = (out - audio).abs() > 1e-3
    assert torch.equal(out[2], audio[2])
    for row, start, length in zip(changed[:2], starts, lengths, strict=False):
        where = torch.nonzero(row).flatten()
        assert start <= where[0] < start + 200 and start + length - 200 < where[-1] < start + length
    spectrum = torch.fft.rfft(out[:2, 12500:15500] * torch.hann_window(3000), 65536).abs().argmax(dim=1)
    np.testing.assert_allclose(spectrum.numpy() * 16000 / 65536, [440.0, 440.0 * 2 ** (-0.5 / 12)], rtol=2e-3)
    assert (out[:, 1:] - out[:, :-1]).abs().max() < 0.25, "no clicks"


def test_choices_are_within_bounds() -> None:
    audio = torch.randn(64, 16000, generator=torch.Generator().manual_seed(1)) * 0.1
    rng = np.random.default_rng(2)
    shifts = np.stack([draw_shift(rng, 16000, 0.5) for _ in range(64)])
    out = out_of_tune(audio, shifts)
    changed = [torch.nonzero(row).flatten() for row in (out != audio)]
    assert [len(c) > 0 for c in changed] == (shifts[:, 1] > 0).tolist()
    assert 16 <= sum(len(c) > 0 for c in changed) <= 48
    spans = [int(c[-1] - c[0]) + 1 for c in changed if len(c)]
    assert min(spans) > 0.24 * 16000 and max(spans) <= 0.5 * 16000
    assert np.abs(shifts[:, 2]).max() <= 0.5
    short = out_of_tune(audio[:1, :3000], draw_shift(np.random.default_rng(1), 3000, 1.0)[None])
    assert short.shape == (1, 3000) and bool(short.isfinite().all()) and not torch.equal(short, audio[:1, :3000])


def test_fade_makes_one_stretch_quieter() -> None:
    audio = np.ones(16000, dtype=np.float32)
    rng = np.random.default_rng(4)
    for _ in range(20):
        faded = np.flatnonzero(fade_somewhere(audio, rng) < 1.0)
        assert 0.03 * 16000 <= len(faded) <= 0.3 * 16000
        assert faded[-1] - faded[0] + 1 == len(faded)


def test_ringing_makes_one_stretch_louder_about_one_frequency() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        audio = (0.01 * rng.standard_normal(16000)).astype(np.float32)
        ringing = ring_somewhere(audio, rng)
        assert ringing.dtype == np.float32 and np.abs(ringing).max() <= 1.0
        changed = np.flatnonzero(ringing != audio)
        assert 0.02 * 16000 <= len(changed) <= 0.3 * 16000
        where = slice(changed[0], changed[-1] + 1)
        before, after, added = (np.abs(np.fft.rfft(x[where])) ** 2 for x in (audio, ringing, ringing - audio))
        peak = int(np.argmax(added))
        assert 400 < peak * 16000 / (changed[-1] + 1 - changed[0]) < 7600
        about = slice(max(0, peak - 3), peak + 4)
        assert after[about].sum() > 1.5 * before[about].sum()


def test_ringing_stays_within_full_scale() -> None:
    rng = np.random.default_rng(6)
    loud = np.sign(np.sin(np.arange(16000) * 0.4)).astype(np.float32)
    assert max(np.abs(ring_somewhere(loud, rng)).max() for _ in range(20)) == 1.0
