"""Random matched segments of a corpus, held in memory-mapped files.

A reel is one performance; it may have been rendered in several timbres, which are sample-aligned. Domains are timbres
that have a decoder; the encoder may hear any timbre. Shapes: B segments, T samples at 16 kHz, H hops of 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.corpus import LABEL_HOP_SAMPLES, storage

RATE_HZ = 16000
UNKNOWN = -100  # what torch's cross_entropy leaves out by itself


@dataclass(frozen=True)
class Batch:
    """source: what the encoder hears, [B, context + T] float32; target: the same passage as the decoder's domain plays
    it; timbre: [B] int64 index of the source's instrument; notes: [B, H] int64, the highest MIDI pitch that sounds, 0
    in rests, -100 where it isn't known (recordings); roll: [B, H, 128] bool, all pitches that sound; labelled: [B]
    bool, whether notes and roll are known; reel, first: [B], where the passage is, in hops from the reel's start."""

    source: np.ndarray
    target: np.ndarray
    timbre: np.ndarray
    notes: np.ndarray
    roll: np.ndarray
    labelled: np.ndarray
    reel: np.ndarray
    first: np.ndarray


class _Reel:
    """One performance: labels and the timbres that it was rendered in, opened when they are first needed."""

    def __init__(self, folder: Path, name: str, home: str, timbres: list[str], hops: int) -> None:
        self.folder, self.name, self.home, self.timbres, self.hops = folder, name, home, timbres, hops
        self._arrays: dict[str, np.ndarray] = {}

    def audio(self, timbre: str) -> np.ndarray:
        """int16 [N]."""
        if timbre not in self._arrays:
            self._arrays[timbre] = np.load(storage.audio_path(self.folder, self.name, timbre), mmap_mode="r")
        return self._arrays[timbre]

    def roll(self) -> np.ndarray | None:
        """uint8 [H, 16], or None."""
        if "" not in self._arrays:
            path = storage.roll_path(self.folder, self.name)
            self._arrays[""] = np.load(path, mmap_mode="r") if path.exists() else np.zeros((0, 16), np.uint8)
        return self._arrays[""] if len(self._arrays[""]) else None


class Corpus:
    """One split (train, valid, test, unseen) of a corpus folder; reels that aren't rendered yet are left out.

    instruments: the timbres to draw from, all if none are given; their order is that of Batch.timbre. home: only reels
    whose music was chosen for this domain (`melody` for those of one voice).
    Raises FileNotFoundError, saying how to render it, if nothing is there.
    """

    def __init__(
        self, folder: Path, split: str, instruments: Sequence[str] | None = None, home: str | None = None
    ) -> None:
        self.reels: list[_Reel] = []
        found: dict[str, None] = {}
        for entry in storage.read_index(folder):
            if entry["split"] != split or home not in (None, entry["home"]):
                continue
            there = [t for t in entry["timbres"] if storage.record_path(folder, entry["name"], t).exists()]
            there = [t for t in there if instruments is None or t in instruments]
            if not there:
                continue
            found |= dict.fromkeys(there)
            samples = len(np.load(storage.audio_path(folder, entry["name"], there[0]), mmap_mode="r"))
            reel = _Reel(folder, entry["name"], entry["home"], there, samples // LABEL_HOP_SAMPLES)
            self.reels.append(reel)
        if not self.reels:
            raise FileNotFoundError(f"no {split} reels in {folder}: run `python -m training.corpus` first")
        self.instruments = list(instruments) if instruments is not None else list(found)
        self._chances: dict[tuple[str, int], tuple[list[int], np.ndarray]] = {}

    @property
    def hours(self) -> float:
        """Hours of music, each reel counted once."""
        return sum(reel.hops for reel in self.reels) * LABEL_HOP_SAMPLES / RATE_HZ / 3600

    def hours_of(self, instrument: str) -> float:
        hops = sum(self.reels[i].hops for i in self.reels_of(instrument))
        return hops * LABEL_HOP_SAMPLES / RATE_HZ / 3600

    def reels_of(self, instrument: str) -> list[int]:
        """Indices of the reels that were rendered in an instrument."""
        return [i for i, reel in enumerate(self.reels) if instrument in reel.timbres]

    def cut(self, instrument: str, reel: int, first: int, samples: int) -> np.ndarray:
        """float32 [samples] in [-1, 1] from one reel."""
        return np.asarray(self.reels[reel].audio(instrument)[first : first + samples], dtype=np.float32) / 32767.0

    def notes(self, reel: int) -> np.ndarray:
        """int64 [H] of one reel: see Batch.notes."""
        roll = self.reels[reel].roll()
        return np.full(self.reels[reel].hops, UNKNOWN) if roll is None else storage.top_notes(roll)

    def draw(
        self,
        rng: np.random.Generator,
        domain: str,
        lags_ms: dict[str, float],
        other: float,
        batch: int,
        samples: int,
        loudest_gain_db: float = 0.0,
        quietest_gain_db: float = -12.0,
        context: int = 0,
    ) -> Batch:
        """A batch of one domain, from reels that were rendered in it, each as likely as it is long.

        With probability `other` the source of a segment is another timbre of the same reel, if there is one among
        lags_ms. lags_ms: instruments that the encoder hears, and how late each speaks. A source that speaks later than
        the target is read that much ahead: what the encoder can't hear yet, the decoder must not be asked to play.
        Source and target have one random gain in common. samples: a multiple of 160. context: samples of the source
        before the passage, a multiple of 160 too.
        """
        margin = int(np.ceil(max([0.0, *lags_ms.values()]) * 16 / LABEL_HOP_SAMPLES)) + 1  # hops
        hops = samples // LABEL_HOP_SAMPLES
        before = margin + context // LABEL_HOP_SAMPLES
        reels, chances = self._long_enough(domain, before + hops + margin)
        source, target, timbre, notes, rolls, labelled, starts = [], [], [], [], [], [], []
        drawn = rng.choice(reels, size=batch, p=chances)
        for r in drawn:
            reel = self.reels[int(r)]
            heard = [t for t in reel.timbres if t in lags_ms]
            name = str(rng.choice(heard)) if heard and rng.random() < other else domain
            gain = np.float32(10.0 ** (rng.uniform(quietest_gain_db, loudest_gain_db) / 20.0))
            first = int(rng.integers(before, reel.hops - hops - margin + 1))
            starts.append(first)
            at = first * LABEL_HOP_SAMPLES
            lag = round((lags_ms.get(name, 0.0) - lags_ms.get(domain, 0.0)) * 16)
            source.append(gain * self.cut(name, int(r), at + lag - context, context + samples))
            target.append(gain * self.cut(domain, int(r), at, samples))
            timbre.append(self.instruments.index(name))
            packed = reel.roll()
            labelled.append(packed is not None)
            of_segment = np.zeros((hops, 16), np.uint8) if packed is None else packed[first : first + hops]
            rolls.append(storage.unpack_roll(of_segment))
            notes.append(np.full(hops, UNKNOWN) if packed is None else storage.top_notes(of_segment))
        return Batch(
            np.stack(source),
            np.stack(target),
            np.array(timbre),
            np.stack(notes),
            np.stack(rolls),
            np.array(labelled),
            drawn,
            np.array(starts),
        )

    def _long_enough(self, instrument: str, hops: int) -> tuple[list[int], np.ndarray]:
        """The reels of an instrument that are longer than so many hops, and each one's share of their length."""
        key = (instrument, hops)
        if key not in self._chances:
            reels = [i for i in self.reels_of(instrument) if self.reels[i].hops > hops]
            if not reels:
                raise ValueError(f"no reel of {instrument} is longer than {hops / 100:.2f} s")
            lengths = np.array([self.reels[i].hops for i in reels], dtype=np.float64)
            self._chances[key] = reels, lengths / lengths.sum()
        return self._chances[key]
