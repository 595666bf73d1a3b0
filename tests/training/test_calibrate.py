"""Ranges for int8 from training audio, and packs written again without touching their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rtserver import _engine, calibration, model_file
from rtserver.errors import UserError
from tests.training.conftest import MODEL
from training.calibrate import calibrate, rewrite
from training.export import part
from training.network import TranslationNetwork
from training.settings import Settings
from training.temperature import fold


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = TranslationNetwork(MODEL, ["a"], 1).state_dict()
    path = tmp_path / "random.pt"
    decoders = {"a": part(state, "decoders.a.")}
    model_file.save(path, MODEL, part(state, "encoder."), decoders, card={"name": "random"}, half=True)
    return path


def test_ranges_hold_what_the_decoder_plays(tiny: Settings, pack: Path) -> None:
    model = model_file.load(pack)
    ranges = calibrate(model, tiny, segments=2)
    greatest = ranges["decoders"]["a"]
    assert greatest.shape == (6, 8) and greatest.dtype == np.float32
    assert "4 s of each decoder's training audio (tiny)" in ranges["source"]
    decoder = _engine.Decoder(model.decoder_config(), model.decoders["a"])
    latents, codes = calibration.hear(calibration.open_encoder(model), calibration.clip(), model)
    clip = decoder.input_ranges(latents, codes)
    assert (greatest >= 1.25 * clip).all() and (greatest > 1.25 * clip).any(), "training audio counts as well"
    assert np.median(greatest / clip) < 3.0


def test_codes_are_rounded_for_what_the_decoder_plays(tiny: Settings, pack: Path) -> None:
    """The codes come with the ranges that they belong to, and training audio decides on them, not the clip alone."""
    model = model_file.load(pack)
    found = calibrate(model, tiny, segments=2)
    alone = calibration.hear(calibration.open_encoder(model), calibration.clip(), model)
    of_clip = calibration.codes_of(model, "a", found["decoders"]["a"], [alone])
    assert any((found["codes"]["a"][name] != array).any() for name, array in of_clip.items())
    rewrite(pack, ranges=found)
    again = model_file.load(pack).calibration
    assert "codes_made_at_load" not in again
    for name, array in found["codes"]["a"].items():
        np.testing.assert_array_equal(again["codes"]["a"][name], array)


def test_a_pack_written_again_keeps_its_bits(pack: Path) -> None:
    before = model_file.load(pack)
    size = pack.stat().st_size
    ranges = {"version": 1, "decoders": {"a": np.ones((6, 8), np.float32)}, "source": "a test"}
    rewrite(pack, ranges=ranges)
    assert model_file.load(pack).card == {"name": "random", "recipe": {"calibration": "a test"}}
    rewrite(pack, card={"name": "other"})
    after = model_file.load(pack)
    assert after.card == {"name": "other"} and after.calibration["source"] == "a test"
    assert pack.stat().st_size < size + 2000, "float16 stays float16"
    assert after.encoder_sha256 == before.encoder_sha256
    for name, array in before.decoders["a"].items():
        np.testing.assert_array_equal(after.decoders["a"][name], array)


def test_float32_weights_are_not_rounded(tmp_path: Path, pack: Path) -> None:
    model = model_file.load(pack)
    model.encoder["input.bias"][0] = np.float32(1.0) / 3
    path = tmp_path / "whole.pt"
    model_file.save(path, model.config, model.encoder, model.decoders)
    rewrite(path, card={"name": "whole"})
    assert model_file.load(path).encoder["input.bias"][0] == np.float32(1.0) / 3


def test_a_folded_temperature_is_the_old_one_at_one(pack: Path) -> None:
    before = model_file.load(pack)
    assert fold(pack, 0.5) == {"a": 0.5}
    assert fold(pack, 0.8) == {"a": 0.4}, "of the training, not of the pack before"
    after = model_file.load(pack)
    assert after.card == {"name": "random", "recipe": {"folded_temperature": {"a": 0.4}}}
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((8, 4)).astype(np.float32)
    codes = rng.integers(0, 256, 8 * before.hop_samples).astype(np.uint8)
    was, now = (
        _engine.Decoder(model.decoder_config(), model.decoders["a"]).logits(latents, codes) for model in (before, after)
    )
    # Two roundings of weights to half precision.
    np.testing.assert_allclose(0.4 * now, was, atol=4 * 2.0**-11 * np.abs(was).max())
    with pytest.raises(ValueError, match="above 0, found 0"):
        fold(pack, 0.0)


def test_one_decoder_of_several_gets_a_temperature_of_its_own(pack: Path, tmp_path: Path) -> None:
    model, path = model_file.load(pack), tmp_path / "two.pt"
    card = {"recipe": {"folded_temperature": 0.7}}  # as earlier versions wrote it
    model_file.save(path, model.config, model.encoder, {"a": model.decoders["a"], "b": model.decoders["a"]}, card=card)
    assert fold(path, 0.5, ["b"]) == {"a": 0.7, "b": 0.35}
    after = model_file.load(path).decoders
    np.testing.assert_array_equal(after["a"]["logits.weight"], model.decoders["a"]["logits.weight"])
    np.testing.assert_allclose(after["b"]["logits.weight"], 2 * model.decoders["a"]["logits.weight"], rtol=1e-6)
    with pytest.raises(UserError, match="oboe"):
        fold(path, 0.5, ["oboe"])
