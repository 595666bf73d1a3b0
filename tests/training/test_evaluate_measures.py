"""The measures of the evaluation, each on sounds and notes whose answer is known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtserver.errors import UserError
from training.corpus.midi import Note
from training.corpus.storage import piano_roll, unpack_roll
from training.evaluate import frechet, intervals, latents, needs, notes, onsets, seam, table2, tracks
from training.evaluate.material import level, notes_of

RATE_HZ = 16000


def tone(hz: float, seconds: float, lead_s: float = 0.0) -> np.ndarray:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    played = np.sin(2 * np.pi * hz * t) * np.exp(-2 * t)
    return np.concatenate([np.zeros(int(lead_s * RATE_HZ)), played]).astype(np.float32)


def melody(pitches: list[int], late_s: float = 0.0) -> np.ndarray:
    pieces = [tone(440 * 2 ** ((p - 69) / 12), 0.4) for p in pitches]
    return np.concatenate([np.zeros(int(late_s * RATE_HZ), np.float32), *pieces])


def test_the_tracker_finds_the_strongest_peak_and_nothing_in_silence() -> None:
    assert np.median(tracks.track(tone(440.0, 1.0))) == pytest.approx(440.0, abs=3.0)
    assert not tracks.track(np.zeros(RATE_HZ, np.float32)).any()


def test_a_late_copy_scores_one_and_another_melody_less() -> None:
    rng = np.random.default_rng(0)
    source, other = rng.uniform(100, 1000, 150), rng.uniform(100, 1000, 150)
    late = np.concatenate([np.zeros(6), source])[:150]
    assert tracks.best_shift_correlation(source, late) == pytest.approx(1.0)
    assert tracks.best_shift_correlation(source, late, largest_s=0.1) < 0.95, "6 frames are 0.19 s"
    assert tracks.best_shift_correlation(source, other) < 0.9
    assert tracks.best_shift_correlation(source, np.zeros(150)) == 0.0


def test_warping_undoes_a_change_of_tempo() -> None:
    source = np.repeat([200.0, 300.0, 250.0, 400.0], 10)
    slower = np.repeat([200.0, 300.0, 250.0, 400.0], [10, 18, 6, 14])
    assert tracks.aligned_correlation(source, slower) == pytest.approx(1.0)
    assert tracks.normalised_correlation(source, slower[:40]) < 0.99
    path = tracks.warping_path(np.abs(source[:, None] - slower[None]))
    assert tuple(path[0]) == (0, 0) and tuple(path[-1]) == (39, 47)
    assert np.isin(np.diff(path, axis=0), (0, 1)).all() and (np.diff(path, axis=0).sum(axis=1) >= 1).all()


def test_warping_takes_the_cheapest_path() -> None:
    """Of all paths through a small table of costs, none is cheaper."""
    costs = np.random.default_rng(3).uniform(0, 1, (4, 5))

    def cheapest(i: int, j: int) -> float:
        if (i, j) == (0, 0):
            return float(costs[0, 0])
        steps = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        return float(costs[i, j]) + min(cheapest(a, b) for a, b in steps if a >= 0 and b >= 0)

    path = tracks.warping_path(costs)
    assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(cheapest(3, 4))


def test_nobody_is_their_own_chance() -> None:
    for count in (2, 3, 60):
        other = table2.partners(count, seed=1)
        assert sorted(other) == list(range(count))
        assert (other != np.arange(count)).all()
    assert len(table2.partners(1, seed=1)) == 0


def test_intervals_hold_the_mean_and_narrow_with_more_segments() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(5, 1, 20), rng.normal(5, 1, 2000)
    low, high = intervals.interval(few)
    assert low < few.mean() < high
    narrow = np.subtract(*intervals.interval(many)[::-1])
    assert narrow < 0.2 * (high - low)
    assert narrow == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.15)
    assert intervals.summary([1.0, float("nan"), 3.0])["n"] == 2
    assert intervals.summary([])["mean"] is None


def test_notes_count_once_and_by_the_greatest_matching() -> None:
    wanted = [Note(0.0, 0.5, 60, 80), Note(0.06, 0.5, 60, 80), Note(1.0, 1.5, 64, 80)]
    # The first that was found fits both; taken for the nearer, the second would find none.
    found = [Note(0.04, 0.5, 60, 80), Note(0.1, 0.5, 60, 80), Note(1.0, 1.5, 65, 80)]
    score = notes.note_score(wanted, found)
    assert score.f1 == pytest.approx(2 / 3)
    assert notes.onset_score(wanted, found).f1 == pytest.approx(1.0)
    assert notes.note_score(wanted, found[:1]).precision == 1.0
    assert notes.note_score(wanted, []).f1 == 0.0
    assert np.isnan(notes.note_score([], []).f1)


def test_a_constant_delay_is_taken_off() -> None:
    wanted = [Note(0.3 * i, 0.3 * i + 0.2, 60 + i, 80) for i in range(5)]
    late = [Note(n.onset_s + 0.08, n.end_s + 0.08, n.pitch, 80) for n in wanted]
    assert notes.note_score(wanted, late).f1 == 0.0
    assert notes.note_score(wanted, late, delay_s=0.08).f1 == 1.0


def test_chords_have_one_onset() -> None:
    chord = [Note(0.0, 1.0, 60, 80), Note(0.01, 1.0, 64, 80), Note(0.02, 1.0, 67, 80), Note(1.0, 2.0, 60, 80)]
    single = [Note(0.01, 1.0, 72, 80), Note(1.0, 2.0, 48, 80)]
    assert notes.onset_score(chord, single).f1 == 1.0
    assert notes.note_score(chord, single).f1 == 0.0


def test_activations_become_notes() -> None:
    sounding, struck = np.zeros((200, 88), np.float32), np.zeros((200, 88), np.float32)
    sounding[20:60, 39] = 0.8  # pitch 60
    struck[20, 39] = 0.9
    struck[40, 39] = 0.7  # again, while it sounds
    sounding[100:105, 50] = 0.8  # too short
    struck[100, 50] = 0.9
    sounding[120:160, 60] = 0.8  # nobody struck it
    sounding[70:90, 10], sounding[96:110, 10], sounding[140:160, 10] = 0.5, 0.5, 0.5  # a short gap and a long one
    struck[70, 10] = 0.6
    found = notes.notes_from(sounding, struck)
    frame_s = notes.HOP_SAMPLES / notes.RATE_HZ
    rows = [(n.pitch, round(n.onset_s / frame_s), round(n.end_s / frame_s)) for n in found]
    assert rows == [(60, 20, 40), (60, 40, 60), (31, 70, 110)]


def test_what_a_roll_says_of_notes() -> None:
    played = [Note(0.5, 1.0, 60, 80), Note(0.5, 1.5, 67, 80), Note(1.2, 1.9, 60, 80)]
    found = notes_of(unpack_roll(piano_roll(played, 2.0)))
    assert [n.pitch for n in found] == [60, 67, 60]
    for was, there in zip(played, found, strict=True):
        assert (there.onset_s, there.end_s) == pytest.approx((was.onset_s, was.end_s))


@pytest.mark.skipif(needs.basic_pitch_network() is None, reason="basic-pitch isn't installed")
def test_basic_pitch_hears_a_chord_that_is_struck_twice_over_several_windows() -> None:
    chord = sum(
        tone(440 * 2 ** ((p - 69) / 12) * k, 2.0, 0.3) / k for p in (60, 64, 67) for k in (1, 2, 3)
    )  # three harmonics each
    found = notes.Transcriber().transcribe(np.tile(level(chord), 2), RATE_HZ)
    truth = [Note(at, at + 1.0, p, 80) for at in (0.3, 2.6) for p in (60, 64, 67)]
    assert notes.note_score(truth, found).recall == 1.0
    assert notes.onset_score(truth, found).f1 == 1.0


def test_without_basic_pitch_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "basic_pitch_network", lambda: None)
    with pytest.raises(UserError, match="pip install --no-deps basic-pitch"):
        notes.Transcriber()


@pytest.mark.parametrize("late_s", [0.0, 0.05, 0.12])
def test_the_delay_of_onsets_is_found(late_s: float) -> None:
    pitches = [60, 67, 62, 71, 64, 60, 69]
    source = np.concatenate([np.zeros(1600, np.float32), melody(pitches)])
    other = np.concatenate([np.zeros(1600, np.float32), melody([p + 12 for p in pitches], late_s)])
    assert onsets.delay_s(source, other) == pytest.approx(late_s, abs=0.006)
    assert np.isnan(onsets.delay_s(source, np.zeros_like(source)))


def test_frechet_distance_of_gaussians_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (4000, 3)), rng.normal([1, 2, 0], [1, 1, 3], (4000, 3))
    assert frechet.distance(a, a) == pytest.approx(0.0, abs=1e-6)
    assert frechet.distance(a, b) == pytest.approx(1 + 4 + (3 - 1) ** 2, rel=0.06)
    assert np.isnan(frechet.distance(a[:1], b))


def test_latents_that_are_pitch_alone_agree_at_the_same_pitch_only() -> None:
    rng = np.random.default_rng(0)
    pitches = range(60, 72)
    by_pitch = rng.normal(0, 1, (12, 16)) + 3.0
    found = latents.compare({"a": by_pitch, "b": 2.0 * by_pitch, "c": by_pitch + 0.01}, list(pitches))
    assert found["same_pitch"]["mean"] > 0.99
    assert found["other_pitch"]["mean"] < found["same_pitch"]["mean"]
    assert found["centred_other_pitch"]["mean"] < 0.2
    unrelated = latents.compare({"a": by_pitch, "b": rng.normal(0, 1, (12, 16)) + 3.0}, list(pitches))
    assert unrelated["same_pitch"]["mean"] > 0.7, "what all latents have in common already makes cosines large"
    assert unrelated["centred_same_pitch"]["mean"] < 0.3
    assert unrelated["nearest_is_same_pitch"]["mean"] < 0.5


def test_a_cut_is_rougher_than_no_cut() -> None:
    steady = np.sin(2 * np.pi * 300 * np.arange(5 * RATE_HZ) / RATE_HZ) * 0.5
    other = np.random.default_rng(0).normal(0, 0.2, 5 * RATE_HZ)
    shimmer = 0.01 * np.random.default_rng(1).normal(0, 1, 5 * RATE_HZ)
    cut = seam.crossfaded(steady + shimmer, other, 0.0)
    faded = seam.crossfaded(steady + shimmer, other, 1.0)
    assert len(cut) == 10 * RATE_HZ and len(faded) == 9 * RATE_HZ
    assert seam.roughness(cut, 4.5, 5.5) > 1.5 * seam.roughness(faded, 4.0, 5.0)
    assert seam.roughness(cut, 2.0, 3.0) < 0.5 * seam.roughness(cut, 4.5, 5.5)


def test_scales_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = latents.scale("additive", (60, 62), tmp_path)
    monkeypatch.setattr(latents, "render", lambda *a, **k: pytest.fail("rendered twice"))
    assert np.allclose(latents.scale("additive", (60, 62), tmp_path), first, atol=1e-4)
