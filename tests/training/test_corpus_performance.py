"""Scores become performances: melodies of one voice, or all parts with a player's timing, laid out in reels."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import mido
import numpy as np
import pytest

from training.corpus.catalogue import read_catalogue
from training.corpus.ensembles import assign
from training.corpus.midi import Note, read_notes
from training.corpus.performance import excerpts, make_reels, perform, perform_parts, polyphonic_reels, skyline
from training.corpus.storage import note_labels, piano_roll, top_notes, unpack_roll


def test_skyline_keeps_the_top_voice_without_overlap() -> None:
    chord = [Note(0.0, 1.0, 60, 80), Note(0.0, 1.0, 72, 80), Note(0.5, 1.5, 74, 80), Note(1.2, 1.4, 50, 80)]
    line = skyline(chord)
    assert [n.pitch for n in line] == [72, 74]
    assert all(a.end_s <= b.onset_s for a, b in itertools.pairwise(line))


def test_performances_stay_in_range_and_in_order() -> None:
    line = [Note(i * 0.5, i * 0.5 + 0.45, 30 + 7 * (i % 9), 80) for i in range(60)]
    played = perform(line, random.Random(3), 50, 96)
    assert len(played) == len(line)
    assert all(50 <= n.pitch <= 96 and n.end_s > n.onset_s for n in played)
    assert all(a.onset_s <= b.onset_s for a, b in itertools.pairwise(played))


def test_reels_of_different_splits_share_no_work() -> None:
    used = {}
    for split in ("train", "test"):
        reels = make_reels(read_catalogue(["piano"], split), 60.0, 2, seed=5)
        used[split] = {w.path for _, works in reels for w in works}
        assert used[split]
    assert not used["train"] & used["test"]


def test_labels_name_the_sounding_note() -> None:
    labels = note_labels([Note(0.1, 0.2, 69, 80), Note(0.25, 0.3, 72, 80)], 0.5)
    assert len(labels) == 50
    assert set(labels[10:20]) == {69} and set(labels[25:30]) == {72}
    assert labels[:10].max() == 0 and labels[20:25].max() == 0 and labels[30:].max() == 0


CHORDS = [Note(i * 0.5, i * 0.5 + 0.45, pitch, 80, part) for i in range(80) for part, pitch in enumerate((72, 64, 43))]


def test_players_bend_time_but_keep_the_notes() -> None:
    played = perform_parts(CHORDS, np.random.default_rng(2))
    assert len(played) == len(CHORDS)
    pairs = zip(sorted(played, key=_by_part), sorted(CHORDS, key=_by_part), strict=True)
    assert len({n.pitch - m.pitch for n, m in pairs}) == 1
    onsets = [n.onset_s for n in sorted(played, key=_by_part) if n.part == 0]
    steps = np.diff(onsets)
    assert steps.min() > 0.3 and steps.max() < 0.9, "tempo and jitter stay human"
    apart = [abs(a.onset_s - b.onset_s) for a, b in zip(_part(played, 0), _part(played, 1), strict=True)]
    assert 0.003 < np.mean(apart) < 0.03, "players are some milliseconds apart"
    assert len({n.velocity for n in played}) > 10


def _by_part(note: Note) -> tuple[int, float]:
    return note.part, note.onset_s


def _part(notes: list[Note], part: int) -> list[Note]:
    return sorted((n for n in notes if n.part == part), key=lambda n: n.onset_s)


def test_excerpts_hold_every_note_once_and_shorten_rests() -> None:
    score = [Note(t, t + 1.0, 60, 80) for t in (0.0, 1.0, 40.0, 41.0, 100.0)]
    (piece,) = excerpts(score)
    assert [n.onset_s for n in piece] == [0.0, 1.0, 3.0, 4.0, 6.0]
    pieces = excerpts([Note(float(i), i + 1.0, 60, 80) for i in range(200)], longest_s=60.0)
    assert [len(p) for p in pieces] == [61, 61, 61] and all(p[0].onset_s == 0.0 for p in pieces), "17 s are too short"


@pytest.mark.parametrize("ensemble", ["string_quartet", "choir_orchestra", "orchestra"])
def test_ensembles_leave_no_note_out(ensemble: str) -> None:
    notes = [Note(i * 0.1, i * 0.1 + 0.1, pitch, 90, pitch % 5) for i, pitch in enumerate(range(21, 109))]
    players = assign(ensemble, notes, np.random.default_rng(0))
    assert {n.pitch for n in notes} == {n.pitch for by in players.values() for n in by}
    if ensemble == "string_quartet":
        assert set(players) <= {40, 41, 42} and sum(map(len, players.values())) == len(notes)
    with pytest.raises(ValueError, match="ensemble 'brass'"):
        assign("brass", notes, np.random.default_rng(0))


def test_a_roll_holds_all_pitches_and_its_top_is_the_label() -> None:
    roll = piano_roll(CHORDS, 45.0)
    assert roll.shape == (4500, 16) and roll.dtype == np.uint8
    sounding = unpack_roll(roll)
    assert set(np.flatnonzero(sounding[20])) == {72, 64, 43} and not sounding[48].any()
    assert top_notes(roll)[20] == 72 and top_notes(roll)[48] == 0


def test_reels_of_all_parts_use_no_music_twice() -> None:
    works = read_catalogue(["harpsichord"], "test")
    reels = polyphonic_reels("harpsichord", "test", [works], 0.05, 60.0, seed=1)
    again = polyphonic_reels("harpsichord", "test", [works], 0.05, 60.0, seed=1)
    assert [r.notes for r in reels] == [r.notes for r in again], "the same seed is the same performance"
    assert sum(r.seconds for r in reels) >= 0.05 * 3600
    for reel in reels:
        assert [n.onset_s for n in reel.notes] == sorted(n.onset_s for n in reel.notes)
        assert {w.split for w in reel.works} == {"test"}
    assert polyphonic_reels("harpsichord", "test", [works[:1]], 5.0, 60.0, seed=1)[-1].works == [works[0]]


def test_midi_tempo_changes_and_parts(tmp_path: Path) -> None:
    file = mido.MidiFile(ticks_per_beat=100)
    conductor = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000, time=0)])
    conductor.append(mido.MetaMessage("set_tempo", tempo=500_000, time=100))
    file.tracks.append(conductor)
    for pitch in (60, 48):
        on, off = (mido.Message("note_on", note=pitch, velocity=v, time=t) for v, t in ((70, 50), (0, 100)))
        file.tracks.append(mido.MidiTrack([on, off]))
    file.tracks.append(mido.MidiTrack([mido.Message("note_on", channel=9, note=40, velocity=70, time=0)]))
    file.save(tmp_path / "a.mid")
    data = (tmp_path / "a.mid").read_bytes()
    assert read_notes(data) == [Note(0.5, 1.25, 60, 70, 0), Note(0.5, 1.25, 48, 70, 1)]
    assert read_notes(data, first_part_only=True) == [Note(0.5, 1.25, 60, 70, 0)]
