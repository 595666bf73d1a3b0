"""Recordings as a domain: wav, flac and mp3 files, checked and brought to mono at 16 kHz.

What can't be learnt from is refused with advice: silence, clipping, too little.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from training.corpus.acoustics import RATE_HZ

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".aiff", ".aif")
SILENT_PEAK = 1e-3  # -60 dB
SILENT_SHARE = 0.8
CLIPPED_SHARE = 1e-3
SHORTEST_S = 2.0


def list_files(folder: Path) -> list[Path]:
    """The recordings of a folder and its subfolders, by name. Raises FileNotFoundError if there is none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no recordings ({', '.join(SUFFIXES)}) in {folder}")
    return files


def read(path: Path) -> np.ndarray:
    """float32 [N] mono at 16 kHz, the 99.9th percentile of its absolute value at 0.6, silence at both ends cut.

    Raises ValueError, with the file's name and advice, for what `check` refuses or no library can read.
    """
    try:
        audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError(f"{path}: can't be read ({error}); convert it to wav or flac") from error
    check(audio, rate_hz, str(path))
    mono = soxr.resample(audio.mean(axis=1), rate_hz, RATE_HZ)
    loud = np.flatnonzero(np.abs(mono) > 3e-3 * np.abs(mono).max())
    mono = mono[max(0, loud[0] - RATE_HZ // 10) : loud[-1] + RATE_HZ // 2]
    level = float(np.quantile(np.abs(mono[::7]), 0.999))
    return np.clip(mono * (0.6 / max(level, 1e-4)), -1.0, 1.0).astype(np.float32)


def check(audio: np.ndarray, rate_hz: int, name: str) -> None:
    """Raise ValueError if audio [N, channels] is too short, silent, mostly silent, clipped, or not finite."""
    seconds = len(audio) / rate_hz
    if seconds < SHORTEST_S:
        raise ValueError(f"{name}: {seconds:.1f} s long; give at least {SHORTEST_S:.0f} s a file")
    if not np.isfinite(audio).all():
        raise ValueError(f"{name}: has samples that aren't numbers; export it again")
    peak = float(np.abs(audio).max())
    if peak < SILENT_PEAK:
        raise ValueError(f"{name}: is silent (peak {20 * np.log10(peak + 1e-9):.0f} dB); check what was recorded")
    # Clipping leaves runs of samples at the very same extreme value.
    mono = audio[:, int(np.abs(audio).max(axis=0).argmax())]
    extreme = np.abs(mono) >= 0.999 * np.abs(mono).max()
    runs = extreme[:-2] & extreme[1:-1] & extreme[2:]
    if runs.mean() > CLIPPED_SHARE:
        raise ValueError(f"{name}: is clipped in {100 * runs.mean():.1f} % of its samples; record it at a lower level")
    step = rate_hz // 10
    frames = mono[: len(mono) // step * step].reshape(-1, step)
    quiet = np.abs(frames).max(axis=1) < 0.01 * peak
    if quiet.mean() > SILENT_SHARE:
        raise ValueError(f"{name}: {100 * quiet.mean():.0f} % of it is silence; cut the pauses out")


def split_files(files: list[Path], shares: tuple[float, float] = (0.1, 0.1)) -> dict[str, list[Path]]:
    """Files by split: a tenth each to valid and test, at least one of each where there are three, in a fixed order."""
    order = np.random.default_rng(0).permutation(len(files))
    held = [max(1, round(share * len(files))) if len(files) >= 3 else 0 for share in shares]
    names = ["valid"] * held[0] + ["test"] * held[1]
    names += ["train"] * (len(files) - len(names))
    out: dict[str, list[Path]] = {"train": [], "valid": [], "test": []}
    for i, name in zip(order, names, strict=True):
        out[name].append(files[i])
    return {name: sorted(paths) for name, paths in out.items()}
