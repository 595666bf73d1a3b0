"""The recordings of one instrument, put together for a decoder to learn: `training.add_instrument`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtserver.errors import UserError
from training.corpus import recordings

RATE_HZ = 16000
LEAST_MINUTES = 3.0
HELD_OUT_SHARE = 0.1
LEAST_HELD_OUT_S = 12.0
AUDIBLE_SHARE_OF_PEAK = 0.01


@dataclass(frozen=True)
class Recordings:
    """train, held_out: float32 [N] at 16 kHz; files: by name, seconds of each; sha256: of all that was read."""

    train: np.ndarray
    held_out: np.ndarray
    files: dict[str, float]
    sha256: str


def gather(folder: Path, least_minutes: float = LEAST_MINUTES) -> Recordings:
    """Read every recording below a folder (or one file), and hold a tenth of each out.

    The end of each file, so that it is other music than what comes before it. UserError, with advice, for what can't
    be learnt from: nothing there, silence, clipping, less than three minutes that sound.
    """
    if not folder.exists():
        raise UserError(f"{folder} does not exist; give a folder of wav, flac or mp3 files")
    try:
        files = [folder] if folder.is_file() else recordings.list_files(folder)
        audio = {path: recordings.read(path) for path in files}
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from None
    sounding = sum(sounding_seconds(a) for a in audio.values())
    if sounding < least_minutes * 60.0:
        raise UserError(
            f"{folder}: {sounding / 60.0:.1f} minutes of sound in {len(files)} file(s), and {least_minutes:g} are the"
            " least; record more of the instrument, all over its range, soft and loud"
        )
    total = sum(len(a) for a in audio.values())
    share = max(HELD_OUT_SHARE, min(0.25, LEAST_HELD_OUT_S * RATE_HZ / total))
    cuts = {path: round((1.0 - share) * len(a)) for path, a in audio.items()}
    digest = hashlib.sha256()
    for piece in audio.values():
        digest.update(piece.tobytes())
    root = folder if folder.is_dir() else folder.parent
    return Recordings(
        np.concatenate([audio[p][: cuts[p]] for p in files]),
        np.concatenate([audio[p][cuts[p] :] for p in files]),
        {str(p.relative_to(root)): round(len(audio[p]) / RATE_HZ, 1) for p in files},
        digest.hexdigest(),
    )


def sounding_seconds(audio: np.ndarray) -> float:
    """Of audio [N]: how many tenths of a second are within 40 dB of the loudest, in seconds."""
    step = RATE_HZ // 10
    frames = np.abs(audio[: len(audio) // step * step]).reshape(-1, step).max(axis=1)
    return float((frames > AUDIBLE_SHARE_OF_PEAK * max(float(np.abs(audio).max()), 1e-9)).sum()) / 10.0
