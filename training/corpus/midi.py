"""MIDI files to notes in seconds."""

from __future__ import annotations

import io
from bisect import bisect_right
from dataclasses import dataclass

import mido

DRUM_CHANNEL = 9


@dataclass(frozen=True)
class Note:
    """One sounding note: onset and end in seconds, MIDI pitch, MIDI velocity 1..127, and the part that plays it."""

    onset_s: float
    end_s: float
    pitch: int
    velocity: int
    part: int = 0


def read_notes(data: bytes, first_part_only: bool = False) -> list[Note]:
    """The notes of a MIDI file, track by track; `part` counts the tracks that sound. Percussion is left out.

    first_part_only: what carries the melody of a song, whose first sounding track is the voice.
    """
    midi = mido.MidiFile(file=io.BytesIO(data), clip=True)
    changes = sorted(
        (tick, message.tempo)
        for track in midi.tracks
        for tick, message in _absolute(track)
        if message.type == "set_tempo"
    )
    sounding = [t for t in midi.tracks if any(m.type == "note_on" and m.velocity > 0 for m in t)]
    clock = _TempoMap(changes, midi.ticks_per_beat)
    notes = []
    for part, track in enumerate(sounding[:1] if first_part_only else sounding):
        started: dict[tuple[int, int], tuple[float, int]] = {}
        for tick, message in _absolute(track):
            if message.type not in ("note_on", "note_off") or message.channel == DRUM_CHANNEL:
                continue
            key = (message.channel, message.note)
            if key in started:
                onset, velocity = started.pop(key)
                if (end := clock.seconds(tick)) > onset:
                    notes.append(Note(onset, end, message.note, velocity, part))
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
        self.ticks = [0]
        self.ticks_per_beat = ticks_per_beat
        for tick, tempo in changes:
            self.points.append((tick, self.seconds(tick), tempo))
            self.ticks.append(tick)

    def seconds(self, tick: int) -> float:
        start, seconds, tempo = self.points[bisect_right(self.ticks, tick) - 1]
        return seconds + (tick - start) * tempo / self.ticks_per_beat / 1e6
