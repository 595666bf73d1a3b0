"""What is translated and compared: segments of test works, rendered by training/evaluate/material.toml.

Split `unseen` (test works in the soundfont that is kept for testing) where it is there, else `test`. The same seed
gives the same segments. Shapes: N samples at 16 kHz, H hops of 10 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtserver.errors import UserError
from training.corpus import LABEL_HOP_SAMPLES, storage
from training.corpus.midi import Note
from training.corpus.settings import CorpusSettings
from training.dataset import Corpus

RATE_HZ = 16000
SEGMENT_S = 5.0
CONFIG = Path(__file__).with_suffix(".toml")
# The paper's names of what an encoder never heard; ours are in no training configuration.
UNSEEN_DOMAINS = ("accordion", "electric_guitar", "vibraphone", "koto")
DIRECTIONS = {
    "harpsichord": ("harpsichord",),
    "orchestra": ("orchestra",),
    "unseen": UNSEEN_DOMAINS,
}
SHORTEST_SOUNDING = 0.8  # share of a segment's hops in which some note sounds
PEAK = 0.5  # of what goes into the encoder


@dataclass(frozen=True)
class Segment:
    """audio: float32 [N] with a peak of 0.5; notes: what sounds in it, in seconds from its beginning;
    reel and first_hop: where it was cut."""

    name: str
    domain: str
    audio: np.ndarray
    notes: list[Note]
    reel: str = ""
    first_hop: int = 0


def folder_of(config: Path = CONFIG) -> Path:
    """Where that corpus lies. FileNotFoundError or ValueError if the file is not there or not a corpus."""
    return CorpusSettings.read(config).folder


def level(audio: np.ndarray) -> np.ndarray:
    """float32 [N] with a peak of PEAK; silence stays silence."""
    return (audio * (PEAK / max(float(np.abs(audio).max(initial=0.0)), 1e-3))).astype(np.float32)


def segments(
    folder: Path, domains: Sequence[str], count: int, seed: int = 0, split: str | None = None, home: str | None = None
) -> list[Segment]:
    """`count` segments of 5 s, in turn from the domains and their reels, none overlapping; fewer if there are no more.

    split: `unseen` where there is one, else `test`. home: `melody` for music of one voice, else each domain's own.
    UserError, saying how to render them, if a domain isn't there.
    """
    share, out = -(-count // len(domains)), []
    for domain in domains:
        corpus = _open(folder, domain, split, home or domain)
        rng = np.random.default_rng([seed, sum(domain.encode())])
        candidates = [_starts(corpus, reel, rng) for reel in corpus.reels_of(domain)]
        found: list[Segment] = []
        while len(found) < share and any(candidates):
            for reel, starts in zip(corpus.reels_of(domain), candidates, strict=True):
                if starts and len(found) < share:
                    found.append(_cut(corpus, reel, domain, starts.pop()))
        out.append(found)
    turns = max((len(found) for found in out), default=0)
    return [found[i] for i in range(turns) for found in out if i < len(found)][:count]


def _open(folder: Path, domain: str, split: str | None, home: str) -> Corpus:
    missing = (
        f"no test segments of {domain} in {folder}: render them with `python -m training.corpus --config"
        f" {CONFIG.relative_to(Path(__file__).parents[2])}` (needs fluidsynth and its soundfonts)"
    )
    for wanted in (split,) if split else ("unseen", "test"):
        try:
            return Corpus(folder, wanted, [domain], home=home)
        except FileNotFoundError:
            continue
    raise UserError(missing)


def _starts(corpus: Corpus, reel: int, rng: np.random.Generator) -> list[int]:
    """First hops of a reel's segments in which music sounds, in random order."""
    hops = round(SEGMENT_S * RATE_HZ) // LABEL_HOP_SAMPLES
    sounding = corpus.notes(reel) > 0
    offset = int(rng.integers(0, hops))
    grid = range(offset, corpus.reels[reel].hops - hops, hops)
    starts = [s for s in grid if sounding[s : s + hops].mean() >= SHORTEST_SOUNDING]
    rng.shuffle(starts)
    return starts


def _cut(corpus: Corpus, reel: int, domain: str, start: int) -> Segment:
    samples = round(SEGMENT_S * RATE_HZ)
    audio = corpus.cut(domain, reel, start * LABEL_HOP_SAMPLES, samples)
    packed = corpus.reels[reel].roll()
    hops = samples // LABEL_HOP_SAMPLES
    roll = storage.unpack_roll(packed[start : start + hops]) if packed is not None else np.zeros((hops, 128), bool)
    name = corpus.reels[reel].name
    return Segment(f"{name}_{start // 100:04d}s_{domain}", domain, level(audio), notes_of(roll), name, start)


def played_by(folder: Path, segment: Segment, timbre: str) -> np.ndarray | None:
    """The same passage as another instrument plays it, float32 [N]; None if it wasn't rendered in it."""
    path = storage.audio_path(folder, segment.reel, timbre)
    if not path.exists():
        return None
    first = segment.first_hop * LABEL_HOP_SAMPLES
    cut = np.load(path, mmap_mode="r")[first : first + len(segment.audio)]
    return level(cut.astype(np.float32) / 32767.0)


def notes_of(roll: np.ndarray) -> list[Note]:
    """The notes of a piano roll, bool [H, 128]; one that already sounds at its beginning counts from there.

    A pitch that is struck again without a gap of 10 ms is one note: the roll can't tell.
    """
    out = []
    padded = np.pad(roll.astype(np.int8), ((1, 1), (0, 0)))
    steps = np.diff(padded, axis=0)
    hop_s = LABEL_HOP_SAMPLES / RATE_HZ
    for pitch in np.flatnonzero(roll.any(axis=0)):
        firsts, lasts = np.flatnonzero(steps[:, pitch] == 1), np.flatnonzero(steps[:, pitch] == -1)
        out += [Note(float(a * hop_s), float(b * hop_s), int(pitch), 80) for a, b in zip(firsts, lasts, strict=True)]
    return sorted(out, key=lambda n: (n.onset_s, n.pitch))


def windows(audio: Iterable[np.ndarray], seconds: float, step_s: float) -> np.ndarray:
    """float32 [W, n]: every piece of `seconds` of every signal, one each `step_s`."""
    n, step = round(seconds * RATE_HZ), round(step_s * RATE_HZ)
    cut = [signal[s : s + n] for signal in audio for s in range(0, len(signal) - n + 1, step)]
    return np.stack(cut) if cut else np.zeros((0, n), np.float32)
