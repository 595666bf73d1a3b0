"""Does the latent carry the pitch and not the instrument? Figure 3 of Mor et al. 2018, on rendered notes.

Single notes of several instruments, MIDI pitches 21 to 108; the latent of a note is the mean over its sounding part.
Cosines of two instruments at the same pitch stand beside cosines at other pitches, because latents have a part in
common that makes every cosine large; `centred` is without the mean over all notes and instruments.
Shapes: I instruments, P pitches, L latent channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track as progress_track

from rtserver.pipeline import Translator
from training.corpus.midi import Note
from training.corpus.synthesis import render
from training.evaluate.intervals import summary
from training.evaluate.material import level

RATE_HZ = 16000
PITCHES = tuple(range(21, 109))
INSTRUMENTS = {
    "piano": "program:0",
    "harpsichord": "program:6",
    "organ": "program:19",
    "violin": "program:40",
    "flute": "program:73",
    "guitar": "program:24",
}
NOTE_S, GAP_S = 0.6, 0.2
HEARD_S = (0.1, 0.55)  # of a note: past its attack, before its end
LOG = Console(stderr=True)


def notes_of(pitches: Sequence[int] = PITCHES) -> list[Note]:
    """One after another, with rests."""
    return [Note(i * (NOTE_S + GAP_S), i * (NOTE_S + GAP_S) + NOTE_S, p, 90) for i, p in enumerate(pitches)]


def scale(instrument: str, pitches: Sequence[int], folder: Path | None = None) -> np.ndarray:
    """float32 [N] of those notes; kept in `folder` if one is given. RuntimeError if fluidsynth is missing."""
    path = folder / f"scale_{instrument.replace(':', '_')}_{pitches[0]}_{pitches[-1]}.npy" if folder else None
    if path is not None and path.exists():
        return np.load(path).astype(np.float32) / 32767.0
    audio = level(render(instrument, notes_of(pitches), len(pitches) * (NOTE_S + GAP_S), seed=5))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.rint(audio * 32767.0).astype(np.int16))
    return audio


def note_latents(translator: Translator, audio: np.ndarray, count: int) -> np.ndarray:
    """float64 [P, L]: the mean latent of each note of a scale, by the pack's own encoder in the engine."""
    latents = translator.embed(audio, RATE_HZ)
    hop_s = translator.model.config.encoder.hop_samples / RATE_HZ
    rows = []
    for i in range(count):
        first, last = (round((i * (NOTE_S + GAP_S) + at) / hop_s) for at in HEARD_S)
        rows.append(latents[first : max(last, first + 1)].mean(axis=0))
    return np.array(rows, dtype=np.float64)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[P, P] of [P, L] and [P, L]; 0 where one is all zeros."""
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    return np.asarray(np.divide(a @ b.T, norms, out=np.zeros((len(a), len(b))), where=norms > 0))


def compare(latents: dict[str, np.ndarray], pitches: Sequence[int] = PITCHES) -> dict[str, Any]:
    """Cosines of every two instruments at the same pitch and at others, as they are
    and centred; by pair, and how often the nearest note of another instrument is the same one.
    """
    mean = np.concatenate(list(latents.values())).mean(axis=0)
    same: list[float] = []
    other: list[float] = []
    same_centred: list[float] = []
    other_centred: list[float] = []
    nearest: list[float] = []
    pairs = {}
    apart = ~np.eye(len(pitches), dtype=bool)
    for a, b in combinations(latents, 2):
        raw = cosines(latents[a], latents[b])
        centred = cosines(latents[a] - mean, latents[b] - mean)
        pairs[f"{a}/{b}"] = {
            "same_pitch": round(float(np.diag(raw).mean()), 4),
            "other_pitch": round(float(raw[apart].mean()), 4),
            "centred_same_pitch": round(float(np.diag(centred).mean()), 4),
            "centred_other_pitch": round(float(centred[apart].mean()), 4),
        }
        same += np.diag(raw).tolist()
        other += raw[apart].tolist()
        same_centred += np.diag(centred).tolist()
        other_centred += centred[apart].tolist()
        nearest += (np.abs(centred.argmax(axis=1) - np.arange(len(pitches))) == 0).astype(float).tolist()
    return {
        "pitches": [int(pitches[0]), int(pitches[-1])],
        "instruments": list(latents),
        "same_pitch": summary(same),
        "other_pitch": summary(other[:: max(1, len(other) // 20000)]),
        "centred_same_pitch": summary(same_centred),
        "centred_other_pitch": summary(other_centred[:: max(1, len(other_centred) // 20000)]),
        "nearest_is_same_pitch": summary(nearest),
        "pairs": pairs,
    }


def evaluate(
    translator: Translator,
    folder: Path | None,
    instruments: dict[str, str] | None = None,
    pitches: Sequence[int] = PITCHES,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The figures, and the latents [P, L] of each instrument for the picture."""
    chosen = instruments or INSTRUMENTS
    found = {}
    for name, instrument in progress_track(chosen.items(), "latents of notes", console=LOG):
        found[name] = note_latents(translator, scale(instrument, pitches, folder), len(pitches))
    return compare(found, pitches), found
