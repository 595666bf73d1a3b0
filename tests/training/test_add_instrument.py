"""A new instrument joins a pack: the encoder and the other decoders keep their bits, bad recordings are refused."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from models import mu_law
from rtserver import _engine, calibration, model_file
from rtserver.errors import UserError
from tests.training.conftest import MODEL
from training import add_instrument
from training.adapt import TRANSPOSED_BY, Adaptation, Recipe, Report, adapt, segments
from training.add_instrument import add, begin, distances
from training.export import part
from training.instrument_audio import gather
from training.network import TranslationNetwork

RATE_HZ = 16000
TEST_RECIPE = Recipe(
    batch=2, segment_seconds=0.2, learning_rate=1e-2, warmup_samples=64, bfloat16=False, average_decay=0.8, patience=9
)


def played(seconds: float, seed: int = 0) -> np.ndarray:
    """Half-second notes with three harmonics and a little noise, float32 [N]: no two of them have the same samples."""
    rng = np.random.default_rng(seed)
    t = np.arange(RATE_HZ // 2) / RATE_HZ
    notes = []
    for pitch in rng.integers(50, 74, round(2 * seconds)):
        hz = 440.0 * 2.0 ** ((pitch - 69) / 12)
        tone = sum(np.sin(2 * np.pi * hz * k * t) / k for k in (1, 2, 3))
        notes.append(0.4 * tone * np.minimum(1.0, t / 0.01) * np.exp(-3.0 * t))
    audio = np.concatenate(notes)
    return np.asarray(audio + 1e-3 * rng.standard_normal(len(audio)), dtype=np.float32)


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    folder = tmp_path / "takes"
    (folder / "second day").mkdir(parents=True)
    soundfile.write(folder / "one.wav", played(12), RATE_HZ)
    stereo = np.repeat(played(10, 1).repeat(2)[:, None], 2, axis=1)  # an octave lower at 32 kHz
    soundfile.write(folder / "second day" / "two.flac", stereo, 2 * RATE_HZ)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A pack whose decoder `near` knows how often the codes of such tones occur, and `far` doesn't."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    state = TranslationNetwork(MODEL, ["far", "near"], 1).state_dict()
    codes = mu_law.encode(torch.from_numpy(played(4, 9)))
    counts = torch.bincount(codes, minlength=256).float() + 1.0
    state["decoders.near.logits.bias"] = (counts / counts.sum()).log()
    decoders = {name: part(state, f"decoders.{name}.") for name in ("far", "near")}
    path = tmp_path / "base.pt"
    model_file.save(path, MODEL, part(state, "encoder."), decoders, card={"licence": "MIT"}, half=True)
    found = calibration.for_pack(model_file.load(path))
    model = model_file.load(path)
    model_file.save(path, MODEL, model.encoder, model.decoders, card=model.card, calibration=found, half=True)
    return path


def options(folder: Path, base: Path, output: Path, **changes: Any) -> argparse.Namespace:
    values = {"folder": folder, "base": base, "output": output, "name": "bell", "alone": False, "start": None}
    values |= {"minutes": 5.0, "steps": 30, "least_minutes": 0.2, "source": "a test", "licence": "CC0-1.0", "seed": 1}
    return argparse.Namespace(**{**values, **changes})


def test_a_decoder_joins_the_pack(takes: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add_instrument, "RECIPE", TEST_RECIPE)
    out = tmp_path / "mine.pt"
    result = add(options(takes, base, out, start="far"))
    assert result["finished"] and result["steps"] == 30 and result["started_as"] == "far"
    assert result["held_out_nats"]["after"] < result["held_out_nats"]["before"] - 0.05
    before, after = model_file.load(base), model_file.load(out)
    assert list(after.decoders) == ["far", "near", "bell"]
    assert after.encoder_sha256 == before.encoder_sha256, "the packs share one encoder"
    for name in before.decoders:
        for key, array in before.decoders[name].items():
            np.testing.assert_array_equal(after.decoders[name][key], array)
    assert after.calibration["decoders"]["bell"].shape == before.calibration["decoders"]["near"].shape
    about = after.card["instruments"]["bell"]
    assert about["licence"] == "CC0-1.0" and about["source"] == "a test"
    assert about["base"]["sha256"] == before.sha256 and set(about["files"]) == {"one.wav", "second day/two.flac"}
    assert "bell: CC0-1.0" in after.card["licence"]
    decoder = _engine.Decoder(after.decoder_config("bell"), after.decoders["bell"])
    assert len(decoder.open_slot(0).generate(np.zeros((3, 4), np.float32))) == 3 * after.hop_samples

    # Over already: the same command again only writes the pack, here without the decoders of the base.
    alone = add(options(takes, base, out, start="far", alone=True))
    assert alone["steps"] == 30 and list(model_file.load(out).decoders) == ["bell"]
    again = model_file.load(out)
    assert again.encoder_sha256 == before.encoder_sha256
    np.testing.assert_array_equal(again.decoders["bell"]["logits.bias"], after.decoders["bell"]["logits.bias"])
    with pytest.raises(UserError, match="of other recordings or another base"):
        add(options(takes / "one.wav", base, out, least_minutes=0.1))


def test_ctrl_c_keeps_what_was_learnt(takes: Path, base: Path, tmp_path: Path) -> None:
    heard, model = gather(takes, least_minutes=0.1), model_file.load(base)
    recipe = Recipe(**{**vars(TEST_RECIPE), "minutes": 5.0, "steps": 8})
    seen: list[Report] = []
    path = tmp_path / "checkpoint.pt"

    def run(adaptation: Adaptation, steps: int) -> bool:
        seen.clear()
        return adapt(adaptation, seen.append, lambda: len(seen) >= steps, lambda: adaptation.save(path, "print"))

    straight = begin(model, "bell", "near", heard, recipe)
    assert run(straight, 8)
    expected = [r.loss for r in seen]
    half = begin(model, "bell", "near", heard, recipe)
    assert not run(half, 3)
    rest = begin(model, "bell", "near", heard, recipe)
    rest.load(path, "print")
    assert rest.step == 3 and run(rest, 8)
    assert [r.step for r in seen] == [4, 5, 6, 7, 8]
    # the learning rate follows the share of the steps here, so that the way is the same
    np.testing.assert_allclose([r.loss for r in seen], expected[3:], rtol=1e-6)
    with pytest.raises(ValueError, match="other recordings"):
        rest.load(path, "another print")


def test_it_ends_when_held_out_audio_gets_no_better(takes: Path, base: Path) -> None:
    heard, model = gather(takes, least_minutes=0.1), model_file.load(base)
    still = {"learning_rate": 0.0, "final_learning_rate": 0.0, "checks": 20, "patience": 3}
    recipe = Recipe(**{**vars(TEST_RECIPE), "minutes": 60.0, "steps": 40, **still})
    adaptation = begin(model, "bell", "near", heard, recipe)
    weights = {k: v.clone() for k, v in adaptation.best.items()}
    assert adapt(adaptation, lambda report: None, lambda: False, lambda: None)
    assert adaptation.step == 6, "three checks, one every second step"
    assert all(torch.equal(adaptation.best[k], v) for k, v in weights.items())


def test_the_nearest_decoder_predicts_best(takes: Path, base: Path) -> None:
    near = distances(model_file.load(base), gather(takes, least_minutes=0.1).train, TEST_RECIPE)
    assert list(near) == ["near", "far"] and near["far"] > near["near"] + 0.3


def test_recordings_are_heard_in_other_keys(takes: Path, base: Path) -> None:
    """A steady tone of 400 Hz is heard at the semitones that there are, and the stretch is as long as any."""
    heard, model = gather(takes, least_minutes=0.1), model_file.load(base)
    recipe = Recipe(**{**vars(TEST_RECIPE), "transpose_probability": 1.0})
    tone = (0.5 * np.sin(2 * np.pi * 400.0 * np.arange(5 * RATE_HZ) / RATE_HZ)).astype(np.float32)
    adaptation = begin(model, "bell", "near", replace(heard, train=tone), recipe)
    found = set()
    for seed in range(60):
        piece = adaptation._draw(3200, np.random.default_rng(seed))
        assert piece.shape == (adaptation.context + 3200,) and piece.dtype == np.float32
        spectrum = np.abs(np.fft.rfft(piece[-3200:] * np.hanning(3200), 65536))
        found.add(round(12 * np.log2(spectrum.argmax() * RATE_HZ / 65536 / 400.0)))
    assert found == set(TRANSPOSED_BY)


def test_held_out_audio_is_not_trained_on(takes: Path) -> None:
    heard = gather(takes, least_minutes=0.1)
    total = sum(heard.files.values())
    assert len(heard.held_out) / RATE_HZ == pytest.approx(0.25 * total, abs=0.3), "short takes: a quarter"
    for piece in segments(heard.held_out, 3200, 4, seed=0):
        index = np.flatnonzero(heard.train == piece[1000])
        assert not any(np.array_equal(heard.train[i : i + 200], piece[1000:1200]) for i in index)


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    def refused(audio: np.ndarray, least_minutes: float = 0.05) -> str:
        soundfile.write(tmp_path / "take.wav", audio, RATE_HZ)
        with pytest.raises(UserError) as error:
            gather(tmp_path, least_minutes)
        return str(error.value)

    assert "0.1 minutes of sound" in refused(played(5), least_minutes=3.0)
    assert "silent" in refused(np.zeros(5 * RATE_HZ, np.float32))
    assert "clipped" in refused(np.clip(6.0 * played(5), -1.0, 1.0))
    mostly = np.zeros(60 * RATE_HZ, np.float32)
    mostly[: 3 * RATE_HZ] = played(3)
    assert "minutes of sound" in refused(mostly, least_minutes=0.5) or "silence" in refused(mostly)
    (tmp_path / "take.wav").write_bytes(b"RIFF, or so it says")
    with pytest.raises(UserError, match=r"take\.wav"):
        gather(tmp_path)
    with pytest.raises(UserError, match="no recordings"):
        gather(_empty(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        gather(tmp_path / "nowhere")


def _empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_names_are_checked(takes: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has a decoder near already"):
        add(options(takes, base, tmp_path / "mine.pt", name="near"))
    with pytest.raises(UserError, match="small letters"):
        add(options(takes, base, tmp_path / "mine.pt", name="../bell"))
    with pytest.raises(UserError, match="has no weights"):
        add(options(takes, Path("loopback"), tmp_path / "mine.pt"))
