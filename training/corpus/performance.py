"""Scores to performances: melodies of one voice, or all parts with a player's timing, laid out in reels.

A reel is some minutes of music of one split, note by note, which several instruments then render: so the same
performance exists in several timbres, sample-aligned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from training.corpus.catalogue import Work, read_score
from training.corpus.midi import Note, read_notes

LONGEST_REST_S = 1.0
LONGEST_NOTE_S = 12.0
EXCERPT_S = 120.0
SHORTEST_EXCERPT_S = 20.0
GAP_S = 0.8


@dataclass(frozen=True)
class Reel:
    """Some minutes of performed notes, in order of their onsets, and the works that they come from."""

    name: str
    split: str
    notes: list[Note]
    works: list[Work]

    @property
    def seconds(self) -> float:
        return max(n.end_s for n in self.notes) + 0.5


def skyline(notes: list[Note]) -> list[Note]:
    """The highest voice, one note at a time: each note ends where the next begins."""
    top: dict[int, Note] = {}
    for note in notes:
        at = round(note.onset_s * 100)
        if at not in top or note.pitch > top[at].pitch:
            top[at] = note
    line: list[Note] = []
    for note in (top[k] for k in sorted(top)):
        if line and line[-1].end_s > note.onset_s:
            if line[-1].pitch > note.pitch + 12:  # an accompaniment note under a held melody note
                continue
            line[-1] = replace(line[-1], end_s=note.onset_s)
        line.append(note)
    return [n for n in line if n.end_s - n.onset_s >= 0.06]


def perform(line: list[Note], rng: random.Random, lowest: int, highest: int) -> list[Note]:
    """A human performance of a melody: transposed into range, tempo scaled, timing and velocity jittered, rests cut."""
    if not line:
        return []
    pitches = sorted(n.pitch for n in line)
    middle = pitches[len(pitches) // 2]
    shift = round(rng.uniform(lowest + 8, highest - 8)) - middle
    tempo = rng.uniform(0.85, 1.25)
    clock, before = 0.0, line[0].onset_s
    out: list[Note] = []
    for note, following in zip(line, line[1:] + line[-1:], strict=False):
        clock += min(max(note.onset_s - before, 0.0) / tempo, 0.6)  # `before`: end of the note before
        length = min((note.end_s - note.onset_s) / tempo, 2.5)
        pitch = note.pitch + shift
        while pitch < lowest:
            pitch += 12
        while pitch > highest:
            pitch -= 12
        onset = clock + abs(rng.gauss(0.0, 0.006))
        gap = rng.uniform(0.0, 0.08) * length if following is not note else 0.0
        velocity = min(max(round(rng.gauss(84, 14)), 40), 118)
        out.append(Note(onset, max(onset + 0.05, clock + length - gap), pitch, velocity))
        clock += length
        before = note.end_s
    return out


def make_reels(
    works: list[Work], reel_seconds: float, reels: int, seed: int, lowest: int = 50, highest: int = 96
) -> list[tuple[list[Note], list[Work]]]:
    """Join melodies of works, in random order, into reels; gives each reel's notes and the works in it."""
    rng = random.Random(seed)
    order = works[:]
    rng.shuffle(order)
    out = []
    queue = iter(order)
    for _ in range(reels):
        notes: list[Note] = []
        used: list[Work] = []
        clock = 0.3
        while clock < reel_seconds:
            work = next(queue, None)
            if work is None:
                break
            line = skyline(read_notes(read_score(work), first_part_only=work.domain == "lieder"))
            # No single work may fill a reel: a minute of it at most, from a random place.
            start = rng.randrange(max(1, len(line) - 200)) if line else 0
            for note in perform(line[start : start + 400], rng, lowest, highest):
                if note.end_s > 75.0:
                    break
                notes.append(replace(note, onset_s=note.onset_s + clock, end_s=note.end_s + clock))
            if not notes:
                continue
            used.append(work)
            clock = notes[-1].end_s + 0.5
        if not used:
            break
        out.append((notes, used))
    return out


def excerpts(notes: list[Note], longest_s: float = EXCERPT_S) -> list[list[Note]]:
    """Cut a score into pieces of at most `longest_s`, long rests shortened, each note in the piece of its onset."""
    ordered = sorted(notes, key=lambda n: (n.onset_s, n.pitch))
    pieces: list[list[Note]] = []
    silence, sounding_until, start = 0.0, 0.0, 0.0
    for i, note in enumerate(ordered):
        if i == 0:
            silence = note.onset_s
        elif note.onset_s - sounding_until > LONGEST_REST_S:
            silence += note.onset_s - sounding_until - LONGEST_REST_S
        sounding_until = max(sounding_until, note.end_s)
        onset = note.onset_s - silence
        if not pieces or onset - start > longest_s:
            pieces.append([])
            start = onset
        length = min(note.end_s - note.onset_s, LONGEST_NOTE_S)
        pieces[-1].append(replace(note, onset_s=onset - start, end_s=onset - start + length))
    return [p for p in pieces if p[-1].onset_s >= SHORTEST_EXCERPT_S or len(pieces) == 1]


def perform_parts(notes: list[Note], rng: np.random.Generator) -> list[Note]:
    """All parts as people would play them, in order of their onsets.

    Transposed by up to 3 semitones; a tempo of its own that bends by some 8 % over bars and broadens at the end;
    onsets off by a standard deviation of 5 to 15 ms, and ends by twice that; velocities that follow phrases.
    """
    shift = int(rng.integers(-3, 4))
    end_s = max(n.end_s for n in notes)
    bend = _tempo_map(end_s, rng)
    spread_s = rng.uniform(0.005, 0.015)
    loudness = rng.normal(0.0, 8.0)
    phrase = _wander(end_s, 5.0, rng)
    out = []
    for note in notes:
        onset_s, until_s = bend(note.onset_s), bend(note.end_s)
        onset_s = max(0.0, onset_s + rng.normal(0.0, spread_s))
        until_s = max(onset_s + 0.05, until_s - abs(rng.normal(0.0, 2.0 * spread_s)))
        written = note.velocity if note.velocity != 64 else 80
        velocity = 0.5 * (written + 80) + loudness + 10.0 * phrase(note.onset_s) + rng.normal(0.0, 6.0)
        pitch = note.pitch + shift
        if 21 <= pitch <= 108:
            out.append(replace(note, onset_s=onset_s, end_s=until_s, pitch=pitch, velocity=_velocity(velocity)))
    return sorted(out, key=lambda n: n.onset_s)


def _velocity(value: float) -> int:
    return int(min(max(round(value), 25), 122))


def _wander(end_s: float, period_s: float, rng: np.random.Generator) -> Callable[[float], float]:
    """A smooth random curve of values near +-1 over time in seconds."""
    knots = np.arange(-1, int(end_s / period_s) + 3) * period_s
    values = rng.uniform(-1.0, 1.0, len(knots))
    return lambda t: float(np.interp(t, knots, values))


def _tempo_map(end_s: float, rng: np.random.Generator) -> Callable[[float], float]:
    """Score time to performed time, both in seconds from the beginning."""
    grid = np.arange(0.0, end_s + 0.2, 0.1)
    curve = _wander(end_s, rng.uniform(2.0, 5.0), rng)
    slowness = rng.uniform(0.85, 1.2) * np.exp(0.08 * np.array([curve(t) for t in grid]))
    slowness *= 1.0 + 0.25 * np.clip((grid - end_s + 2.0) / 2.0, 0.0, 1.0)
    played = np.concatenate([[0.0], np.cumsum(0.1 * slowness[:-1])])
    return lambda t: float(np.interp(t, grid, played))


def passages(works: Iterable[Work], rng: np.random.Generator) -> Iterator[tuple[Work, list[Note]]]:
    """Performed excerpts of works, each part of each score once, the first excerpt of every work before the second."""
    waiting = list(works)
    rng.shuffle(waiting)  # type: ignore[arg-type]
    later: list[tuple[Work, list[list[Note]]]] = []
    for work in waiting:
        pieces = excerpts(read_notes(read_score(work)))
        if not pieces:
            continue
        later.append((work, pieces[1:]))
        yield work, perform_parts(pieces[0], rng)
    while later:
        remaining = []
        for work, pieces in later:
            if pieces:
                yield work, perform_parts(pieces[0], rng)
                remaining.append((work, pieces[1:]))
        later = remaining


def polyphonic_reels(
    name: str, split: str, works: list[list[Work]], hours: float, reel_seconds: float, seed: int
) -> list[Reel]:
    """Reels of performed excerpts, `hours` in all or as much as there is; no music is used twice.

    works: the scores to choose from, in groups: a group is taken when the ones before it are used up.
    """
    rng = np.random.default_rng(seed)
    source = (passage for group in works for passage in passages(group, rng))
    reels: list[Reel] = []
    left_s = hours * 3600.0
    while left_s > 0.0:
        notes: list[Note] = []
        used: list[Work] = []
        clock, length_s = 0.3, min(reel_seconds, left_s)
        for performance, (work, played) in enumerate(source):
            if not played:
                continue
            # Parts are numbered on from work to work, so that each performance gets players of its own.
            notes += [
                replace(n, onset_s=n.onset_s + clock, end_s=n.end_s + clock, part=1000 * performance + n.part)
                for n in played
            ]
            used.append(work)
            clock = max(n.end_s for n in notes) + GAP_S
            if clock >= length_s:
                break
        if not notes:
            break
        reels.append(Reel(f"{name}_{split}_{len(reels):02d}", split, notes, used))
        left_s -= reels[-1].seconds
    return reels
