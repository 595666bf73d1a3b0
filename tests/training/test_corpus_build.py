"""A corpus is built, killed, finished, and read back: same samples, matched timbres, labels, records of sources."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mido
import numpy as np
import pytest

from training.corpus import report, soundfonts, storage
from training.corpus.build import build
from training.corpus.midi import Note
from training.corpus.plan import plan
from training.corpus.settings import CorpusSettings
from training.corpus.synthesis import render
from training.dataset import UNKNOWN, Corpus

ROOT = Path(__file__).parents[2]


def write_score(path: Path, first: int) -> None:
    """A minute of two parts, in quavers and in minims, different for each `first`."""
    file = mido.MidiFile(ticks_per_beat=100)
    for length, count, base in ((50, 120, 72), (200, 30, 48)):
        track = mido.MidiTrack()
        for i in range(count):
            pitch = base + (i * i + first * i) % 11
            track.append(mido.Message("note_on", note=pitch, velocity=80, time=0))
            track.append(mido.Message("note_on", note=pitch, velocity=0, time=length))
        file.tracks.append(track)
    file.save(path)


@pytest.fixture
def table(tmp_path: Path) -> dict[str, object]:
    """Scores whose names put two works into train and one into test, and a recording."""
    (tmp_path / "scores").mkdir()
    names = [f"work{i}" for i in range(40)]
    from training.corpus.catalogue import hashed_split

    train = [n for n in names if hashed_split(n) == "train"][:2]
    test = next(n for n in names if hashed_split(n) == "test")
    for i, name in enumerate((*train, test)):
        write_score(tmp_path / "scores" / f"{name}.mid", i)
    (tmp_path / "takes").mkdir()
    import soundfile

    sound = 0.3 * np.sin(np.arange(3 * 44100) * 2 * np.pi * 330 / 44100)
    soundfile.write(tmp_path / "takes" / "take.wav", np.stack([sound, sound], axis=1), 44100)
    return {
        "name": "tiny",
        "midi_folder": str(tmp_path / "scores"),
        "score_domains": ["own"],
        "reels": {"train": 1},
        "reel_seconds": 20.0,
        "varied": True,
        "also": 1,
        "instruments": {
            "tones": "additive",
            "more": "additive",
            "whistle": "whistle",
            "voice": "sung",
            "own": f"recordings:{tmp_path / 'takes'}",
        },
        "domains": {"tones": {"scores": ["own"], "hours": {"train": 0.02, "test": 0.004}}},
    }


def to_toml(table: dict[str, object]) -> str:
    """A file with the table [corpus] alone; values of these tests are JSON, which TOML shares but for tables."""
    flat = {k: v for k, v in table.items() if not isinstance(v, dict)}
    lines = ["[corpus]", *(f"{k} = {json.dumps(v)}" for k, v in flat.items())]
    for name in ("instruments", "reels"):
        lines += [f"[corpus.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table[name].items())]  # type: ignore[attr-defined]
    lines += ["[corpus.domains.tones]", 'scores = ["own"]', "hours = { train = 0.02, test = 0.004 }"]
    return "\n".join(lines)


def test_a_killed_run_goes_on_and_a_finished_corpus_is_read_back(
    table: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = tmp_path / "tiny.toml", tmp_path / "corpus"
    config.write_text(to_toml(table))
    command = [sys.executable, "-m", "training.corpus", "--config", str(config), "--workers", "1", "-o", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.*.json"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    there = {p: p.stat().st_mtime_ns for p in folder.glob("*.*.json")}
    assert there, "the first items are there"
    # One of them is lost. The rest must stay as they are, and it must come out as it was.
    lost = min(there)
    del there[lost]
    before = json.loads(lost.read_text())
    storage.audio_path(folder, before["reel"], before["timbre"]).unlink()

    settings = CorpusSettings.of(table)
    build(settings, 1, folder)
    told = capsys.readouterr().out
    assert int(told.split(" of them there already")[0].rsplit(" ", 1)[1]) == len(there)
    assert all(p.stat().st_mtime_ns == time_ns for p, time_ns in there.items()), "finished items are left alone"

    with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(r["home"], r["timbre"]) for r in rows} == {
        *(("melody", name) for name in ("tones", "more", "whistle", "voice")),
        ("tones", "tones"),
        ("tones", "more"),
        ("own", "own"),
    }
    for row in rows:
        samples = np.load(storage.audio_path(folder, row["reel"], row["timbre"]))
        assert samples.dtype == np.int16 and hashlib.sha256(samples.tobytes()).hexdigest() == row["sha256"]
    with open(folder / "sources.csv", newline="", encoding="utf-8") as file:
        sources = list(csv.DictReader(file))
    assert {s["reel"] for s in sources} == {r["reel"] for r in rows} and all(s["licence"] for s in sources)
    sides = {(s["work"], "test" if s["split"] == "test" else s["split"]) for s in sources}
    assert len({work for work, _ in sides}) == len(sides), "no work on two sides"

    assert json.loads(lost.read_text())["sha256"] == before["sha256"], "the same settings give the same samples"

    _read_back(folder)
    text = report.table(folder)
    assert "| tones | 0.0" in text and "| own |" in text


def test_melodies_keep_to_the_pitches_asked_for_and_dry_instruments_to_no_room(table: dict[str, object]) -> None:
    settings = CorpusSettings.of({**table, "lowest_pitch": 36, "highest_pitch": 62, "dry": ["tones"]})
    with ThreadPoolExecutor(1) as pool:
        (melody,) = (p for p in plan(settings, pool) if p.home == "melody")
    pitches = {n.pitch for n in melody.reel.notes}
    assert 36 <= min(pitches) < 50 and max(pitches) <= 62
    varied = {item.timbre: item.settings["varied"] for item in melody.items}
    assert varied == {"tones": False, "more": True, "whistle": True, "voice": True}
    for wrong in ({"dry": ["kazoo"]}, {"lowest_pitch": 80}):
        with pytest.raises(ValueError, match=rf"corpus\.{next(iter(wrong))}"):
            CorpusSettings.of({**table, **wrong})


def _read_back(folder: Path) -> None:
    corpus = Corpus(folder, "train", ["tones", "more", "whistle", "own"])
    assert corpus.reels[0].home == "melody"
    lags = {"tones": 0.0, "more": 30.0, "whistle": 20.0}
    batch = corpus.draw(np.random.default_rng(1), "tones", lags, 0.7, 32, 8000)
    assert batch.source.shape == batch.target.shape == (32, 8000) and batch.source.dtype == np.float32
    assert batch.roll.shape == (32, 50, 128) and batch.notes.shape == (32, 50) and batch.labelled.all()
    assert set(batch.timbre.tolist()) >= {0, 1} and 3 not in batch.timbre
    tops = [max(np.flatnonzero(hop), default=0) for hop in batch.roll[0]]
    assert batch.notes[0].tolist() == tops
    same = batch.timbre == 0
    np.testing.assert_array_equal(batch.source[same], batch.target[same])
    assert not np.array_equal(batch.source[~same], batch.target[~same])
    again = corpus.draw(np.random.default_rng(1), "tones", lags, 0.7, 32, 8000)
    np.testing.assert_array_equal(again.source, batch.source)
    recordings = corpus.draw(np.random.default_rng(1), "own", lags, 0.7, 4, 8000)
    assert (recordings.notes == UNKNOWN).all() and not recordings.labelled.any()
    assert set(recordings.timbre.tolist()) == {3}, "there is nothing that matches a recording"
    with pytest.raises(ValueError, match="no reel of own is longer"):
        corpus.draw(np.random.default_rng(1), "own", lags, 0.0, 1, 160000)
    with pytest.raises(FileNotFoundError, match=r"run `python -m training\.corpus"):
        Corpus(folder, "valid")


def test_timbres_of_one_reel_sound_together() -> None:
    """Onsets in every synthesised timbre lie within 30 ms of the notes' own."""
    notes = [Note(0.5 + 0.6 * i, 0.5 + 0.6 * i + 0.4, 60 + 2 * i, 90) for i in range(6)]
    for instrument in ("additive", "whistle", "sung"):
        audio = render(instrument, notes, 4.5, seed=3)
        envelope = np.sqrt(np.convolve(audio**2, np.ones(160) / 160, mode="same"))
        for note in notes:
            before, after = (envelope[int((note.onset_s + at) * 16000)] for at in (-0.08, 0.06))
            assert after > 3 * before, f"{instrument} begins {note}"


def test_a_sung_line_has_the_pitch_of_its_notes() -> None:
    notes = [Note(0.2 + i, 0.2 + i + 0.9, pitch, 90) for i, pitch in enumerate((41, 50, 57, 64, 71))]
    audio = render("sung", notes, 5.5, seed=1)
    for note in notes:
        window = audio[int((note.onset_s + 0.15) * 16000) :][:3200] * np.hanning(3200)
        hz = 440.0 * 2 ** ((note.pitch - 69) / 12)
        lag = 16000 / hz
        correlation = np.correlate(window, window, mode="full")[3199:]
        lags = np.arange(int(0.8 * lag), int(1.25 * lag) + 2)
        found = lags[correlation[lags].argmax()]
        assert abs(12 * np.log2(lag / found)) < 1.0, "within a semitone at whole lags, vibrato included"


def test_rendering_needs_a_known_instrument_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="instrument 'kazoo': expected program:N"):
        render("kazoo", [Note(0.0, 1.0, 60, 80)], 1.0, 0)
    monkeypatch.setenv("RTSERVER_SOUNDFONT", "/nowhere/a.sf2")
    with pytest.raises(RuntimeError, match=r"/nowhere/a\.sf2\) is missing: `apt-get install fluidsynth"):
        soundfonts.find()


def test_soundfonts_are_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    first, second = tmp_path / "a.sf3", tmp_path / "b.sf2"
    second.touch()
    assert soundfonts.find([f"{first}|{second}", str(first)]) == [second]
    first.touch()
    assert soundfonts.find([f"{first}|{second}", str(first)]) == [first, first]
    monkeypatch.setenv("RTSERVER_SOUNDFONT", f"{second}:{tmp_path / 'none'}:{first}")
    assert soundfonts.find(["FluidR3_GM.sf2"]) == [second, first]


def test_sampled_instruments_are_in_tune_and_repeatable() -> None:
    try:
        soundfonts.find()
    except RuntimeError as error:
        pytest.skip(str(error))
    notes = [Note(0.3, 2.0, 69, 90)]
    audio = render("program:73", notes, 2.5, seed=2, varied=True)
    assert audio.shape == (40000,) and np.abs(audio).max() <= 1.0
    np.testing.assert_array_equal(audio, render("program:73", notes, 2.5, seed=2, varied=True))
    assert not np.array_equal(audio, render("program:73", notes, 2.5, seed=3, varied=True))
    spectrum = np.abs(np.fft.rfft(audio[12800:28800] * np.hanning(16000), 262144))
    band = slice(int(400 / 16000 * 262144), int(480 / 16000 * 262144))
    found = (np.argmax(spectrum[band]) + band.start) * 16000 / 262144
    assert abs(1200 * np.log2(found / 440.0)) < 25.0, "10 cents of detuning, and what the samples are off by"
