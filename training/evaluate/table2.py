"""Table 2 of Mor et al. 2018 on test works, by the shipped engine, with what the paper's measure doesn't tell.

For each direction: the paper's correlations (tracks.py) and the same against the input of another segment (chance);
whether an independent classifier takes the output for the target (domains.py); onsets and notes (notes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track as progress_track

from training.evaluate import frechet, onsets, tracks
from training.evaluate.domains import DomainClassifier
from training.evaluate.intervals import summary
from training.evaluate.material import Segment
from training.evaluate.notes import Transcriber, note_score, onset_score

# What the paper prints: the network, and three musicians who played what they heard (the lowest and highest of them).
PAPER = {
    "harpsichord": {"ncc": 0.84, "dtw": 0.98},
    "orchestra": {"ncc": 0.82, "dtw": 0.97},
    "unseen": {"ncc": 0.88, "dtw": 0.98},
}
MUSICIANS = {"ncc": (0.65, 0.82), "dtw": (0.94, 0.98)}
LOG = Console(stderr=True)


@dataclass(frozen=True)
class Direction:
    """The segments of one source and what was played for them, float32 [N] each."""

    source: str
    segments: list[Segment]
    played: list[np.ndarray]


def partners(count: int, seed: int) -> np.ndarray:
    """int [count]: a shuffle in which nobody stays in place; for one alone there is none."""
    if count < 2:
        return np.zeros(0, dtype=int)
    order = np.random.default_rng(seed).permutation(count)
    out = np.empty(count, dtype=int)
    out[order] = np.roll(order, 1)
    return out


def correlations(direction: Direction, seed: int = 0) -> dict[str, np.ndarray]:
    """ncc and dtw of every segment, chance_ncc and chance_dtw of every output against another segment's input."""
    inputs = [tracks.track(s.audio) for s in progress_track(direction.segments, "pitch of inputs", console=LOG)]
    outputs = [tracks.track(a) for a in progress_track(direction.played, "pitch of outputs", console=LOG)]
    measures = {"ncc": tracks.best_shift_correlation, "dtw": tracks.aligned_correlation}
    other = partners(len(inputs), seed)
    out = {}
    for name, measure in measures.items():
        out[name] = np.array([measure(a, b) for a, b in zip(inputs, outputs, strict=True)])
        out[f"chance_{name}"] = np.array([measure(inputs[j], outputs[i]) for i, j in enumerate(other)])
    return out


def note_figures(direction: Direction, delay_s: float, transcriber: Transcriber) -> dict[str, np.ndarray]:
    """Onset and note F1 of every output, of every input (what the transcriber makes of the original: the ceiling), and
    of every output against another segment's notes (chance)."""
    other = partners(len(direction.segments), 0)
    rows: dict[str, list[float]] = {}
    pairs = zip(direction.segments, direction.played, strict=True)
    for i, (segment, played) in enumerate(progress_track(list(pairs), "transcribing", console=LOG)):
        found = transcriber.transcribe(played, tracks.RATE_HZ)
        original = transcriber.transcribe(segment.audio, tracks.RATE_HZ)
        row = {
            "onset_f1": onset_score(segment.notes, found, delay_s).f1,
            "note_f1": note_score(segment.notes, found, delay_s).f1,
            "input_onset_f1": onset_score(segment.notes, original).f1,
            "input_note_f1": note_score(segment.notes, original).f1,
        }
        if len(other):
            stranger = direction.segments[int(other[i])].notes
            row["chance_onset_f1"] = onset_score(stranger, found, delay_s).f1
            row["chance_note_f1"] = note_score(stranger, found, delay_s).f1
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in rows.items()}


def ceiling(segments: Sequence[Segment], real: Sequence[np.ndarray], transcriber: Transcriber | None) -> dict[str, Any]:
    """What the measures give to a perfect translation: the same passages as the real target plays them, [N] each."""
    rows: dict[str, list[float]] = {"ceiling_ncc": [], "ceiling_dtw": [], "ceiling_note_f1": []}
    for segment, audio in zip(segments, real, strict=True):
        source, target = tracks.track(segment.audio), tracks.track(audio)
        rows["ceiling_ncc"].append(tracks.best_shift_correlation(source, target))
        rows["ceiling_dtw"].append(tracks.aligned_correlation(source, target))
        if transcriber is not None:
            rows["ceiling_note_f1"].append(note_score(segment.notes, transcriber.transcribe(audio, tracks.RATE_HZ)).f1)
    return {name: summary(values) for name, values in rows.items() if values}


def evaluate(
    direction: Direction,
    target: str,
    classifier: DomainClassifier,
    real: Sequence[np.ndarray],
    transcriber: Transcriber | None,
    seed: int = 0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of the table, and what stands beside it: intervals, the untranslated input, notes, distances.

    real: held-out audio of the target, float32 [N] each.
    """
    figures = correlations(direction, seed)
    inputs = [s.audio for s in direction.segments]
    heard = [classifier.classify(a) for a in direction.played]
    recognised = np.array([name == target for name in heard], dtype=np.float64)
    delays = np.array([onsets.delay_s(a, b) for a, b in zip(inputs, direction.played, strict=True)])
    delay_s = float(np.nanmedian(delays)) if np.isfinite(delays).any() else 0.0
    row = {
        "n": len(direction.segments),
        **{name: _rounded(values) for name, values in figures.items()},
        "target_recognised": _rounded(recognised),
        "onset_delay_ms": round(1000 * delay_s, 1) if np.isfinite(delays).any() else None,
    }
    own = {**figures, "target_recognised": recognised, "onset_delay_ms": 1000 * delays}
    if transcriber is not None:
        own |= note_figures(direction, delay_s, transcriber)
    detail: dict[str, Any] = {name: summary(values) for name, values in own.items()}
    detail["heard_as"] = _counts(heard)
    detail["input_heard_as"] = _counts([classifier.classify(a) for a in inputs])
    detail["frechet"] = distances(classifier, inputs, direction.played, real)
    detail["silent"] = sum(name == "silence" for name in heard)
    return row, detail


def distances(
    classifier: DomainClassifier, inputs: Sequence[np.ndarray], played: Sequence[np.ndarray], real: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Frechet distances to real audio of the target, of outputs, of inputs as they are, and of other real audio.

    Half of the real audio is what all are compared with, and the other half is compared with it; counts are made alike.
    """
    reference, others = classifier.embeddings(real[::2]), classifier.embeddings(real[1::2])
    groups = {"output": classifier.embeddings(played), "input": classifier.embeddings(inputs), "real": others}
    least = min([len(reference), *(len(g) for g in groups.values())])
    rng = np.random.default_rng(0)
    out: dict[str, Any] = {"windows": least}
    for name, rows in groups.items():
        chosen = rng.choice(len(rows), least, replace=False) if least else []
        value = frechet.distance(rows[chosen], reference[:least])
        out[name] = round(value, 3) if np.isfinite(value) else None
    return out


def _rounded(values: np.ndarray) -> float | None:
    kept = values[np.isfinite(values)]
    return round(float(kept.mean()), 4) if len(kept) else None


def _counts(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}
