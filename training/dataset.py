"""Random matched segments of a rendered corpus, held in memory-mapped files.

Shapes: B segments, T samples at 16 kHz, H hops of 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.corpus import LABEL_HOP_SAMPLES


@dataclass(frozen=True)
class Batch:
    """source: what the encoder hears, [B, T] float32; target: the same passage as the decoder's domain plays it;
    timbre: [B] int64 index of the source's instrument; notes: [B, H] int64 MIDI pitch, 0 in rests."""

    source: np.ndarray
    target: np.ndarray
    timbre: np.ndarray
    notes: np.ndarray


class Corpus:
    """One split of a corpus folder. Raises FileNotFoundError, saying how to render it, if it isn't there."""

    def __init__(self, folder: Path, split: str, instruments: list[str]) -> None:
        self.instruments = instruments
        self.notes = [np.load(p, mmap_mode="r") for p in sorted(folder.glob(f"{split}_*_notes.npy"))]
        reels = [p.name.split("_")[1] for p in sorted(folder.glob(f"{split}_*_notes.npy"))]
        if not reels:
            raise FileNotFoundError(f"no {split} reels in {folder}: run `python -m training.corpus` first")
        self.audio = {
            name: [np.load(folder / f"{split}_{reel}_{name}.npy", mmap_mode="r") for reel in reels]
            for name in instruments
        }

    @property
    def hours(self) -> float:
        return sum(len(n) for n in self.notes) * LABEL_HOP_SAMPLES / 16000 / 3600

    def cut(self, instrument: str, reel: int, first: int, samples: int) -> np.ndarray:
        """float32 [samples] in [-1, 1] from one reel."""
        return np.asarray(self.audio[instrument][reel][first : first + samples], dtype=np.float32) / 32767.0

    def draw(
        self, rng: np.random.Generator, domain: str, lags_ms: dict[str, float], other: float, batch: int, samples: int
    ) -> Batch:
        """A batch of one domain. With probability `other` the source of a segment is another of the instruments.

        lags_ms: how late each instrument speaks. A source that speaks later than the target is read that much ahead:
        what the encoder can't hear yet, the decoder must not be asked to play.
        """
        margin = int(max(lags_ms.values()) * 16)
        source, target, timbre, notes = [], [], [], []
        for _ in range(batch):
            reel = int(rng.integers(len(self.notes)))
            hops = samples // LABEL_HOP_SAMPLES
            name = str(rng.choice(list(lags_ms))) if rng.random() < other else domain
            gain = 10.0 ** (rng.uniform(-12.0, 0.0) / 20.0)
            first = int(rng.integers(len(self.notes[reel]) - hops - 2 * margin // LABEL_HOP_SAMPLES - 2))
            first += margin // LABEL_HOP_SAMPLES + 1
            at = first * LABEL_HOP_SAMPLES
            lag = round((lags_ms[name] - lags_ms[domain]) * 16)
            source.append(gain * self.cut(name, reel, at + lag, samples))
            target.append(gain * self.cut(domain, reel, at, samples))
            timbre.append(self.instruments.index(name))
            notes.append(self.notes[reel][first : first + hops].astype(np.int64))
        return Batch(np.stack(source), np.stack(target), np.array(timbre), np.stack(notes))
