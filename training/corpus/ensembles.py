"""Who plays which note: the parts of a performance, shared out among the General MIDI programs of an ensemble.

Any ensemble plays any score: parts go to players by their register, and a note that a player doesn't have goes to one
that has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from training.corpus.midi import Note

# Sounding ranges (MIDI pitches) of the programs that share parts out; others play everything.
RANGES = {
    40: (55, 103),  # violin
    41: (48, 88),  # viola
    42: (36, 76),  # cello
    43: (24, 60),  # contrabass
    47: (36, 57),  # timpani
    52: (41, 81),  # choir
    56: (54, 84),  # trumpet
    60: (36, 77),  # horn
    68: (58, 91),  # oboe
    70: (34, 72),  # bassoon
    71: (50, 91),  # clarinet
    73: (60, 98),  # flute
}
STRINGS, CHOIR = 48, 52
WOODWIND_AND_BRASS = (56, 60, 68, 70, 71, 73)

Assigned = dict[int, list[Note]]  # program -> notes


def assign(ensemble: str, notes: Iterable[Note], rng: np.random.Generator) -> Assigned:
    """Notes by program for `string_quartet`, `choir_orchestra` or `orchestra`.

    Raises ValueError for another name.
    """
    by_part: dict[int, list[Note]] = defaultdict(list)
    for note in notes:
        by_part[note.part].append(note)
    if ensemble == "string_quartet":
        return _string_quartet(by_part)
    if ensemble == "choir_orchestra":
        return _choir_orchestra(by_part, rng)
    if ensemble == "orchestra":
        return _orchestra(by_part, rng)
    raise ValueError(f"ensemble {ensemble!r}: expected string_quartet, choir_orchestra or orchestra")


def _has(program: int, pitch: int) -> bool:
    lowest, highest = RANGES[program]
    return lowest <= pitch <= highest


def _string_quartet(by_part: dict[int, list[Note]]) -> Assigned:
    """A part goes to violin, viola or cello by its mean pitch, and single notes beyond reach to a neighbour."""
    out: Assigned = defaultdict(list)
    for notes in by_part.values():
        mean = np.mean([n.pitch for n in notes])
        order = (40, 41, 42) if mean >= 66 else (41, 40, 42) if mean >= 56 else (42, 41, 40)
        for note in notes:
            program = next((p for p in order if _has(p, note.pitch)), 42 if note.pitch < 60 else 40)
            out[program].append(note)
    return dict(out)


def _choir_orchestra(by_part: dict[int, list[Note]], rng: np.random.Generator) -> Assigned:
    """Choir on what voices reach, strings softly under it and alone beyond it."""
    out: Assigned = defaultdict(list)
    doubling = rng.uniform(0.45, 0.75)
    for notes in by_part.values():
        for note in notes:
            sung = _has(CHOIR, note.pitch)
            if sung:
                out[CHOIR].append(note)
            out[STRINGS].append(_softer(note, doubling if sung else 0.9))
    return dict(out)


def _orchestra(by_part: dict[int, list[Note]], rng: np.random.Generator) -> Assigned:
    """Strings on everything; most parts are played or doubled by a wind of their register, basses below."""
    out: Assigned = defaultdict(list)
    for notes in by_part.values():
        mean = int(np.mean([n.pitch for n in notes]))
        winds = [p for p in WOODWIND_AND_BRASS if _has(p, mean)]
        wind = int(rng.choice(winds)) if winds and rng.random() < 0.7 else None
        strings = rng.uniform(0.5, 1.0)
        for note in notes:
            blown = wind is not None and _has(wind, note.pitch)
            if wind is not None and blown:
                out[wind].append(_softer(note, 0.9))
            out[STRINGS].append(_softer(note, strings if blown else 1.0))
            if mean < 52 and _has(43, note.pitch):
                out[43].append(_softer(note, 0.8))
            if _has(47, note.pitch) and note.velocity > 100 and note.pitch < 50:
                out[47].append(note)
    return dict(out)


def _softer(note: Note, share: float) -> Note:
    return Note(note.onset_s, note.end_s, note.pitch, max(1, round(note.velocity * share)), note.part)
