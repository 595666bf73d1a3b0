"""Recordings are taken as they are, or refused with advice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.corpus import recordings

RATE_HZ = 22050
TONE = 0.4 * np.sin(np.arange(4 * RATE_HZ) * 2 * np.pi * 220.0 / RATE_HZ)


def test_a_recording_becomes_mono_at_16_khz(tmp_path: Path) -> None:
    quiet = np.zeros(2 * RATE_HZ)
    for name in ("a.wav", "a.flac", "a.mp3"):
        soundfile.write(tmp_path / name, np.stack([np.concatenate([quiet, TONE])] * 2, axis=1), RATE_HZ)
        audio = recordings.read(tmp_path / name)
        assert audio.dtype == np.float32 and audio.ndim == 1
        assert 4.0 * 16000 <= len(audio) <= 4.7 * 16000, "the silence before it is cut"
        spectrum = np.abs(np.fft.rfft(audio[8000:24000]))
        assert spectrum.argmax() == 220
        assert np.quantile(np.abs(audio), 0.999) == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(
    ("audio", "advice"),
    [
        (TONE[:RATE_HZ], "1.0 s long; give at least 2 s"),
        (1e-4 * TONE, "is silent"),
        (np.clip(4 * TONE, -0.9, 0.9), "clipped in .* record it at a lower level"),
        (np.concatenate([TONE[:RATE_HZ], np.zeros(9 * RATE_HZ)]), "90 % of it is silence; cut the pauses"),
    ],
    ids=["short", "silent", "clipped", "pauses"],
)
def test_what_cannot_be_learnt_from_is_refused(audio: np.ndarray, advice: str, tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    soundfile.write(path, audio, RATE_HZ)
    with pytest.raises(ValueError, match=f"take.wav: .*{advice}"):
        recordings.read(path)


def test_a_full_scale_sine_is_not_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", TONE / np.abs(TONE).max() * 0.99, RATE_HZ)
    recordings.read(tmp_path / "loud.wav")


def test_what_is_no_sound_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"not a sound")
    with pytest.raises(ValueError, match="can't be read"):
        recordings.read(tmp_path / "broken.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no recordings"):
        recordings.list_files(tmp_path / "empty")


def test_files_are_split_whole() -> None:
    files = [Path(f"{i}.wav") for i in range(20)]
    split = recordings.split_files(files)
    assert {k: len(v) for k, v in split.items()} == {"train": 16, "valid": 2, "test": 2}
    assert sorted(p for paths in split.values() for p in paths) == sorted(files)
    assert recordings.split_files(files) == split
    assert [len(v) for v in recordings.split_files(files[:3]).values()] == [1, 1, 1]
    assert [len(v) for v in recordings.split_files(files[:2]).values()] == [2, 0, 0]
