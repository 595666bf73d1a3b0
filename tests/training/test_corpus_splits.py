"""No work on both sides of a split: in the shipped catalogue, in what is planned, and however it was published."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from training.corpus import works
from training.corpus.catalogue import DATA, SPLITS, Work, check_splits, hashed_split, read_catalogue
from training.corpus.midi import Note
from training.corpus.plan import plan
from training.settings import Settings

CLASSICAL = Path(DATA).parent / "configs" / "classical.toml"
TUNE = [0, 2, 4, 5, 7, 4, 0, 9, 7, 11, 12, 7, 5, 9, 8, 7, 4, 2, 0, 5, 4, 2, 7, 7, 0, 3, 5, 1, 0, 2, 6, 8, 10, 4]


def line(steps: list[int], first: int, beat_s: float) -> list[Note]:
    return [Note(i * beat_s, (i + 0.9) * beat_s, first + step, 80) for i, step in enumerate(steps)]


def catalogue() -> list[Work]:
    with open(DATA / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Work(r["path"], r["domain"], r["split"], r["licence"], r["credit"], r["work"]) for r in rows]


def test_no_work_of_the_catalogue_is_on_two_sides() -> None:
    used = [w for w in catalogue() if w.split in SPLITS]
    assert len(used) > 1800 and all(w.work for w in used)
    check_splits(used)
    symphony = next(w for w in used if w.split == "train" and w.work == "BrahmsJ/Symphony_No.1,_Op.68")
    with pytest.raises(ValueError, match="BrahmsJ/Symphony_No"):
        check_splits([*used, replace(symphony, path="orchestra/BrahmsJ_Symphony-No.1-Op.68_9.mid", split="test")])


def test_the_same_music_is_one_work_in_any_key_and_tempo() -> None:
    other = [(7 * i * i + 3 * i) % 13 for i in range(len(TUNE))]
    prints = {
        "violin": works.fingerprint(line(TUNE, 60, 0.5)),
        "guitar": works.fingerprint(line([*TUNE, 3, 5, 8], 48, 0.37)),
        "other": works.fingerprint(line(other, 60, 0.5)),
    }
    pairs = works.same_music(prints)
    assert pairs == [("guitar", "violin")]
    grouped = works.group({"violin": "Bach/1006", "guitar": "Bach/1006a", "other": "Bach/1"}, pairs)
    assert grouped == {"violin": "Bach/1006", "guitar": "Bach/1006", "other": "Bach/1"}


def test_an_edition_of_a_test_work_is_not_trained_on() -> None:
    grouped = {"violin": "1006", "guitar": "1006", "flute": "1013"}
    settled = works.settle({"violin": "test", "guitar": "train", "flute": "train"}, grouped)
    assert settled == {"violin": "test", "guitar": works.EXCLUDED, "flute": "train"}
    assert works.EXCLUDED not in SPLITS


def test_editions_that_are_known_share_a_work() -> None:
    by_path = {w.path: w for w in catalogue()}
    lute = by_path["harpsichord/BachJS_BWV1006a-bwv-1006a-1_01.mid"]
    violin = by_path["solo/BachJS_BWV1006-bwv-1006-1_01.mid"]
    guitar = by_path["guitar/BachJS_BWV1006a-bwv-1006a-1g_01.mid"]
    assert lute.work == violin.work == guitar.work


def test_only_free_scores_are_listed() -> None:
    found = read_catalogue(["piano", "solo", "lieder"], "train")
    assert len(found) > 100
    assert not [w for w in found if "SA" in w.licence.split("-")]


def test_every_domain_has_hours_and_its_works_stay_on_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of the six domains with 40 s of music a domain and split: works, licences and timbres as configured."""
    corpus = Settings.read(CLASSICAL).corpus
    domains = {k: replace(d, hours=dict.fromkeys(SPLITS, 0.01)) for k, d in corpus.domains.items()}
    synthesised = dict.fromkeys(corpus.instruments, "additive") | {"whistle": "whistle"}
    small = replace(
        corpus,
        domains=domains,
        instruments=synthesised,
        reels=dict.fromkeys(SPLITS, 1),
        reel_seconds=10.0,
        test_soundfont="",
    )
    with ThreadPoolExecutor(1) as pool:
        planned = plan(small, pool)
    assert {(p.home, p.reel.split) for p in planned} == {(h, s) for h in ("melody", *domains) for s in SPLITS}
    assert planned[0].home == "melody", "what evaluation takes its melodies from"
    for p in planned:
        timbres = [item.timbre for item in p.items]
        if p.home == "melody":
            assert timbres == list(small.instruments)
        else:
            assert timbres[0] == p.home and len(set(timbres)) == 1 + small.also and "whistle" not in timbres
        assert all(w.split == p.reel.split for w in p.works)
    stolen = replace(planned[0].works[0], split="test")
    monkeypatch.setattr(
        "training.corpus.plan.read_catalogue", lambda domains, split, scores: [replace(stolen, split=split)]
    )
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="is in train and in"):
        plan(replace(small, domains={}, reels=dict.fromkeys(SPLITS, 1)), pool)


def test_the_shipped_configuration_asks_for_two_hours_a_domain() -> None:
    corpus = Settings.read(CLASSICAL).corpus
    assert list(corpus.domains) == ["piano", "harpsichord", "organ", "string_quartet", "choir_orchestra", "orchestra"]
    assert all(d.hours["train"] >= 2.0 for d in corpus.domains.values())
    assert corpus.test_soundfont.split("|")[0] not in corpus.soundfonts


def test_a_folder_of_midi_files_is_split_by_its_names(tmp_path: Path) -> None:
    for name in ("sonata/1.mid", "sonata/2.mid", "alone.MID", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [w for split in SPLITS for w in read_catalogue([], split, tmp_path)]
    assert {w.path: w.work for w in found} == {"sonata/1.mid": "sonata", "sonata/2.mid": "sonata", "alone.MID": "alone"}
    check_splits(found)
    splits = [hashed_split(f"work {i}") for i in range(1000)]
    assert 60 < splits.count("valid") < 140 and 60 < splits.count("test") < 140
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no MIDI files"):
        read_catalogue([], "train", tmp_path / "empty")
