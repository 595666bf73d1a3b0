"""Scores become melodies of one voice, laid out in reels whose works stay on one side of the split."""

from __future__ import annotations

import itertools
import random

from training.corpus import note_labels
from training.scores import Note, make_reels, perform, read_catalogue, skyline


def test_only_free_scores_are_listed() -> None:
    works = read_catalogue(["piano", "solo", "lieder"], "train")
    assert len(works) > 100
    assert not [w for w in works if "SA" in w.licence.split("-")]


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
