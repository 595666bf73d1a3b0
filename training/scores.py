"""Scores to melodies: reads the MIDI collection in `training/data`, keeps one voice, and lays out performance reels.

A reel is some minutes of melodies of one split, note by note, which every domain then renders: so the same music
exists in every timbre, sample-aligned.
"""

from __future__ import annotations

import csv
import io
import random
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import mido

DATA = Path(__file__).parent / "data"
FREE_LICENCES = ("CC0", "Public", "CC-BY-")  # share-alike scores are left out: weights are shipped under MIT


@dataclass(frozen=True)
class Note:
    """One sounding note: onset and end in seconds, MIDI pitch, MIDI velocity 1..127."""

    onset_s: float
    end_s: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Work:
    """One score and the row of `scores.csv` that describes it."""

    path: str
    domain: str
    split: str
    licence: str
    credit: str


def read_catalogue(domains: list[str], split: str) -> list[Work]:
    """The freely licensed works of some domains in one split (train, valid, test), in catalogue order."""
    works = []
    with open(DATA / "scores.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            free = row["licence"].startswith(FREE_LICENCES) and "SA" not in row["licence"].split("-")
            if row["domain"] in domains and row["split"] == split and free:
                works.append(Work(row["path"], row["domain"], row["split"], row["licence"], row["credit"]))
    return works


def read_notes(archive: zipfile.ZipFile, work: Work) -> list[Note]:
    """The notes that carry the melody: the voice track of a song, every track otherwise."""
    midi = mido.MidiFile(file=io.BytesIO(archive.read(work.path)))
    tempo_changes = sorted(
        (tick, message.tempo)
        for track in midi.tracks
        for tick, message in _absolute(track)
        if message.type == "set_tempo"
    )
    sounding = [t for t in midi.tracks if any(m.type == "note_on" and m.velocity > 0 for m in t)]
    if work.domain == "lieder":
        sounding = sounding[:1]
    clock = _TempoMap(tempo_changes, midi.ticks_per_beat)
    notes = []
    for track in sounding:
        started: dict[tuple[int, int], tuple[float, int]] = {}
        for tick, message in _absolute(track):
            if message.type not in ("note_on", "note_off") or message.channel == 9:
                continue
            key = (message.channel, message.note)
            if key in started:
                onset, velocity = started.pop(key)
                if (end := clock.seconds(tick)) > onset:
                    notes.append(Note(onset, end, message.note, velocity))
            if message.type == "note_on" and message.velocity > 0:
                started[key] = (clock.seconds(tick), message.velocity)
    return notes


def _absolute(track: mido.MidiTrack) -> list[tuple[int, mido.Message]]:
    tick, out = 0, []
    for message in track:
        tick += message.time
        out.append((tick, message))
    return out


class _TempoMap:
    """Ticks to seconds through the tempo changes of a file."""

    def __init__(self, changes: list[tuple[int, int]], ticks_per_beat: int) -> None:
        self.points = [(0, 0.0, 500_000)]
        self.ticks_per_beat = ticks_per_beat
        for tick, tempo in changes:
            self.points.append((tick, self.seconds(tick), tempo))

    def seconds(self, tick: int) -> float:
        start, seconds, tempo = next(p for p in reversed(self.points) if p[0] <= tick)
        return seconds + (tick - start) * tempo / self.ticks_per_beat / 1e6


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
    """Join performances of works, in random order, into reels; gives each reel's notes and the works in it."""
    rng = random.Random(seed)
    order = works[:]
    rng.shuffle(order)
    out = []
    queue = iter(order)
    with zipfile.ZipFile(DATA / "scores.zip") as archive:
        for _ in range(reels):
            notes: list[Note] = []
            used: list[Work] = []
            clock = 0.3
            while clock < reel_seconds:
                work = next(queue, None)
                if work is None:
                    break
                line = skyline(read_notes(archive, work))
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
