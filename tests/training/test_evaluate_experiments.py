"""The experiments from end to end: a small pack, a corpus without a soundfont, the command and its page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from rtserver import model_file
from rtserver.errors import UserError
from rtserver.model_check import decoder_shapes, encoder_shapes
from rtserver.pipeline import translate
from tests.training.conftest import MODEL
from training.corpus import settings, storage
from training.corpus.midi import Note
from training.corpus.synthesis import render
from training.evaluate import command, domains, experiments, latents, material, report, table2
from training.evaluate.playing import Player

SOUNDS = {
    "piano": "additive",
    "harpsichord": "whistle",
    "orchestra": "additive",
    "accordion": "additive",
    "electric_guitar": "whistle",
    "vibraphone": "additive",
    "koto": "whistle",
    "whistle": "whistle",
}
FIELDS = {"n", "ncc", "dtw", "chance_ncc", "chance_dtw", "target_recognised", "onset_delay_ms"}


def write_pack(path: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = [encoder_shapes(MODEL.encoder), decoder_shapes(MODEL.decoder, MODEL.encoder.latent_channels)]
    encoder, decoder = (
        {n: (rng.standard_normal(s) / np.sqrt(np.prod(s[1:]) or 1)).astype(np.float32) for n, s in each.items()}
        for each in shapes
    )
    model_file.save(path, MODEL, encoder, {"piano": decoder})
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pack, and a corpus of 16 s a domain and split with its configuration."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("evaluation")
    corpus = folder / "tiny"
    corpus.mkdir()
    notes = [Note(i * 0.25, i * 0.25 + 0.22, 60 + (5 * i) % 12, 90) for i in range(63)]
    sounds = {instrument: render(instrument, notes, 16.0, seed=1) for instrument in ("additive", "whistle")}
    entries = []
    for name, instrument in SOUNDS.items():
        for split in ("train", "valid", "test", "unseen"):
            reel = f"{name}_{split}_00"
            entries.append(
                {
                    "name": reel,
                    "split": split,
                    "home": "melody" if name == "whistle" else name,
                    "timbres": [name],
                    "works": [],
                }
            )
            storage.save_array(storage.roll_path(corpus, reel), storage.piano_roll(notes, 16.0))
            storage.save_item(corpus, reel, name, sounds[instrument], {})
    storage.write_index(corpus, entries)
    config = folder / "material.toml"
    config.write_text('[corpus]\nname = "tiny"\n', encoding="utf-8")
    return {"pack": write_pack(folder / "tiny.pt"), "config": config, "corpus": corpus, "folder": folder}


@pytest.fixture
def small(site: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr(settings, "CORPORA", site["folder"])
    monkeypatch.setattr(latents, "INSTRUMENTS", {"a": "additive", "b": "whistle"})
    monkeypatch.setattr(latents, "PITCHES", (60, 64))
    monkeypatch.setattr(latents.evaluate, "__defaults__", (None, (60, 64)))
    monkeypatch.setattr(domains, "STEPS", 3)
    monkeypatch.setattr(domains.open_classifier, "__defaults__", (0, 3))
    monkeypatch.setattr(experiments, "BLENDS", 1)
    return site


def test_the_whole_report(
    small: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All experiments by one command: the fields that others rely on, and a page that needs nothing else."""
    monkeypatch.setattr(experiments, "recordings", lambda seconds: {})
    monkeypatch.setattr(report, "EXAMPLES", 1)
    options = ["--material", str(small["config"]), "--segments", "2", "--no-notes", "--report", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["training.evaluate", "--model", str(small["pack"]), *options, "--json"])
    command.main()
    result = json.loads(capsys.readouterr().out)
    assert set(result["table2"]) == {"harpsichord_to_piano", "orchestra_to_piano", "unseen_to_piano"}
    assert set(result["control"]) == {"melody_to_piano"}
    for name, row in (result["table2"] | result["control"]).items():
        assert set(row) == FIELDS, name
        assert row["n"] == 2
        for measure in ("ncc", "dtw", "chance_ncc", "chance_dtw", "target_recognised"):
            assert 0.0 <= row[measure] <= 1.0, measure
        detail = result["table2_details"][name]
        assert detail["ncc"]["n"] == 2 and detail["ncc"]["mean"] == row["ncc"]
        assert sum(detail["heard_as"].values()) == 2
    assert result["classifier"]["test"]["n"] >= 3
    assert "piptrack" in result["tracker"]
    assert result["blend"]["hard_cut"]["n"] == 1
    command.print_figures(result)
    said = capsys.readouterr().out
    assert "NCC" in said and "paper 0.84" in said and "roughness" in said

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)\s*=\s*"([^"]{0,40})', page)
    assert len(sources) >= 10 and all(s.startswith("data:") for s in sources)
    assert page.count("<audio") >= 3 * 2, "an input and an output of every direction"
    assert "url(" not in page and "http" not in page
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == result
    assert (tmp_path / "table2.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_played_is_what_translate_plays_and_is_played_once(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_file.load(small["pack"])
    audio = material.segments(small["corpus"], ["harpsichord"], 1)[0].audio[:8000]
    player = Player(model, "piano", seed=3, folder=tmp_path)
    played = player.play(audio)
    assert np.allclose(played, translate(model, audio, 16000, "piano", 3), atol=1 / 32767)
    monkeypatch.setattr(player.translator, "open", lambda *a, **k: pytest.fail("played twice"))
    assert np.array_equal(player.play(audio), played)
    with pytest.raises(pytest.fail.Exception):
        player.play(audio[:-160])


def test_segments_are_the_same_for_a_seed_and_never_overlap(small: dict[str, Path]) -> None:
    first = material.segments(small["corpus"], ["koto", "piano"], 4, seed=1)
    assert [s.name for s in first] == [s.name for s in material.segments(small["corpus"], ["koto", "piano"], 4, seed=1)]
    assert [s.domain for s in first][:2] == ["koto", "piano"]
    assert len({s.name for s in first}) == len(first)
    for segment in first:
        assert "_unseen_" in segment.name
        assert len(segment.audio) == 80000 and np.abs(segment.audio).max() == pytest.approx(0.5)
        assert 15 <= len(segment.notes) <= 22
    with pytest.raises(UserError, match=r"material\.toml"):
        material.segments(small["corpus"], ["bagpipes"], 1)


def test_a_perfect_translation_is_cut_where_its_source_was(small: dict[str, Path]) -> None:
    segment = material.segments(small["corpus"], ["koto"], 1)[0]
    assert np.array_equal(material.played_by(small["corpus"], segment, "koto"), segment.audio)
    assert material.played_by(small["corpus"], segment, "bagpipes") is None
    found = table2.ceiling([segment], [segment.audio], None)
    assert found["ceiling_ncc"]["mean"] == pytest.approx(1.0) and found["ceiling_dtw"]["mean"] == pytest.approx(1.0)


def test_the_classifier_learns_and_is_kept(small: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["piano", "harpsichord"]  # additive tones and whistling
    network = domains.train(small["corpus"], names, steps=60)
    for name in names:
        heard = [network.classify(s.audio) for s in material.segments(small["corpus"], [name], 2, split="test")]
        assert heard == [name] * len(heard)
    assert network.classify(np.zeros(80000, np.float32)) == "silence"
    rng = np.random.default_rng(3)
    hiss = [0.1 * rng.standard_normal(80000), lfilter([0.1], [1.0, -0.8], rng.standard_normal(80000))]
    for sound in [s.audio for name in names for s in material.segments(small["corpus"], [name], 1, split="test")]:
        level = np.sqrt(np.mean(sound**2))
        hiss.append(sound + 3.0 * level * rng.standard_normal(len(sound)))
        loud = sound + 0.02 * level * rng.standard_normal(len(sound))
        assert network.classify(loud.astype(np.float32)) in names, "34 dB above its hiss it is what it was"
    assert [network.classify(audio.astype(np.float32)) for audio in hiss] == ["noise"] * len(hiss)
    kept = domains.open_classifier(small["corpus"], "piano", 0, 3)
    monkeypatch.setattr(domains, "train", lambda *a: pytest.fail("trained twice"))
    again = domains.open_classifier(small["corpus"], "piano", 0, 3)
    mel = domains.log_mel(torch.randn(2, 32000))
    assert torch.equal(kept(mel), again(mel))
    loud = torch.from_numpy(np.random.default_rng(0).normal(0, 0.2, (1, 32000)).astype(np.float32))
    assert torch.allclose(domains.log_mel(loud), domains.log_mel(loud / 10), atol=0.05), "level tells nothing"
    with pytest.raises(UserError, match=r"training\.corpus"):
        domains.names_in(small["corpus"], "bagpipes")


def test_a_missing_corpus_is_one_line(small: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text('[corpus]\nname = "elsewhere"\n', encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["x", "--model", str(small["pack"]), "--material", str(config), "--table2"])
    with pytest.raises(SystemExit, match=r"python -m training\.corpus --config training/evaluate/material\.toml"):
        command.main()
