"""Weights in 4 bits: their moments as PyTorch finds them, and rounding that beats the nearest code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.mu_law import network_input
from rtserver import _engine, calibration, moments, quantise
from rtserver.model_check import code_shapes
from tests.parity.test_calibration import CONFIGS, make


def correlated(rng: np.random.Generator, samples: int, channels: int) -> np.ndarray:
    """Inputs [samples, channels] that go together, in int8 units."""
    mixed = rng.standard_normal((samples, channels)) @ rng.standard_normal((channels, channels))
    return np.clip(mixed * 127.0 / np.abs(mixed).max(), -127.0, 127.0)


def nearest(weight: np.ndarray) -> np.ndarray:
    """The weights [rows, n], each rounded to the nearest code of a scale that fits the greatest."""
    scale = np.abs(weight).max(axis=1, keepdims=True) / 7.0
    return np.rint(weight / scale) * scale


@pytest.mark.parametrize("name", CONFIGS)
def test_moments_are_those_of_pytorch(name: str, tmp_path: Path) -> None:
    model, _, decoder = make(name, tmp_path)
    latents, codes = calibration.hear(calibration.open_encoder(model), calibration.clip()[:3000], model)
    inputs: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda layer, given: inputs.append(given[0][0, :, layer.dilation :]))
        layer.residual.register_forward_pre_hook(lambda residual, given: outputs.append(given[0][0]))
    with torch.no_grad():
        decoder(network_input(torch.from_numpy(codes))[None, None], torch.from_numpy(latents.T.copy())[None])
    found = moments.input_moments(model.decoder_config("a"), model.decoders["a"], latents, codes)
    for kind, values, each in zip("xz", (inputs, outputs), found, strict=True):
        exact = torch.stack(values).double()
        expected = (exact @ exact.transpose(1, 2) / len(codes)).numpy()
        assert each.dtype == np.float64 and expected.shape == each.shape
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max(), err_msg=kind)


def test_units_are_those_of_the_engine() -> None:
    """A channel that never moved has a 128th of the greatest; a layer that never moved has units of 1."""
    units = quantise.input_units(np.array([127.0, 12.7, 0.0], np.float32))
    np.testing.assert_allclose(units, [1.0, 0.1, 1.0 / 128.0], rtol=1e-6)
    np.testing.assert_allclose(quantise.input_units(np.zeros(2, np.float32)), 1.0 / 127.0, rtol=1e-6)


def test_rounding_makes_up_for_its_own_errors() -> None:
    """On inputs of the same kind that it did not see, its product is far closer than that of the nearest codes."""
    rng = np.random.default_rng(1)
    inputs = correlated(rng, 4000, 24)
    seen, unseen = inputs[:2000], inputs[2000:]
    weight = rng.standard_normal((40, 24))
    codes, scale = quantise.round_rows(weight, seen.T @ seen / len(seen), 1e-9)
    assert codes.dtype == np.int8 and scale.dtype == np.float32 and scale.shape == (40,)
    assert codes.min() >= -8 and codes.max() <= 7
    exact = unseen @ weight.T
    error = exact - unseen @ (codes * scale.astype(np.float64)[:, None]).T
    plain = exact - unseen @ nearest(weight).T
    assert np.sqrt((error**2).mean() / (plain**2).mean()) < 0.6


def test_weights_that_are_codes_already_are_kept() -> None:
    rng = np.random.default_rng(2)
    wanted = rng.integers(-7, 8, (12, 40)).astype(np.int8)
    wanted[:, 0] = 7
    scale = rng.uniform(0.5, 2.0, 12).astype(np.float32)
    inputs = correlated(rng, 500, 40)
    codes, found = quantise.round_rows(wanted * scale[:, None].astype(np.float64), inputs.T @ inputs / 500, 1e-9)
    np.testing.assert_array_equal(codes, wanted)
    np.testing.assert_allclose(found, scale, rtol=1e-6)


def test_blocks_of_columns_are_a_matter_of_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    inputs = correlated(rng, 500, 70)
    weight = rng.standard_normal((9, 70))
    codes, scale = quantise.round_rows(weight, inputs.T @ inputs / 500, 1e-9)
    monkeypatch.setattr(quantise, "COLUMNS_AT_ONCE", 1)
    one_by_one, other_scale = quantise.round_rows(weight, inputs.T @ inputs / 500, 1e-9)
    assert (codes != one_by_one).mean() < 0.01, "but for ties broken by the last bit"
    assert (scale == other_scale).mean() > 0.8


def test_silence_and_empty_rows_have_codes_too() -> None:
    weight = np.zeros((3, 8))
    weight[1, 2] = 1.0
    codes, scale = quantise.round_rows(weight, np.zeros((8, 8)), 0.5e-3)
    assert not codes[[0, 2]].any() and codes[1, 2] * scale[1] == pytest.approx(1.0, rel=0.1)
    np.testing.assert_array_equal(scale[[0, 2]], np.float32(0.5e-3))
    with pytest.raises(ValueError, match="expected finite numbers"):
        quantise.round_rows(weight, np.full((8, 8), np.nan), 1e-9)


def test_a_pack_gets_codes_that_multiply_units(tmp_path: Path) -> None:
    """Codes times scales are the weights, to 4 bits; the ranges are folded into `now`, z's unit into the rest."""
    model, _, _ = make("causal", tmp_path)
    made = calibration.for_pack(model, codes=True)
    assert made["codes_made_at_load"] is True and calibration.SOURCE_OF_CODES in made["source"]
    found, weights = made["codes"]["a"], model.decoders["a"]
    assert {name: array.shape for name, array in found.items()} == code_shapes(model.config.decoder)
    for i, ranges in enumerate(made["decoders"]["a"]):
        unit = np.maximum(ranges, ranges.max() / 128) / 127.0
        exact = {
            "now": weights[f"layers.{i}.dilated.weight"][:, :, 1] * unit,
            "residual": weights[f"layers.{i}.residual.weight"][:, :, 0] / 127.0,
            "skip": weights[f"layers.{i}.skip.weight"][:, :, 0] / 127.0,
        }
        for name, wanted in exact.items():
            rounded = found[name][i] * found[f"{name}_scale"][i][:, None]
            # a narrow layer leaves little to make up with: of the order of the nearest code's error, or less
            error = np.abs(rounded - wanted).max(axis=1) / np.abs(wanted).max(axis=1)
            assert np.median(error) < 0.3, name

    again = calibration.for_pack(model, codes=True)
    for name, array in found.items():
        np.testing.assert_array_equal(again["codes"]["a"][name], array)


def test_codes_are_made_for_the_ranges_that_a_pack_brings(tmp_path: Path) -> None:
    model, _, _ = make("causal", tmp_path)
    ranges = calibration.for_pack(model)
    model, _, _ = make("causal", tmp_path, {**ranges, "decoders": {"a": 2 * ranges["decoders"]["a"]}})
    made = calibration.for_pack(model, codes=True)
    assert "codes" not in model.calibration and "codes" not in calibration.for_pack(model)
    np.testing.assert_array_equal(made["decoders"]["a"], model.calibration["decoders"]["a"])
    latents, codes = calibration.hear(calibration.open_encoder(model), calibration.clip(), model)
    decoder = _engine.Decoder(model.decoder_config(), model.decoders["a"])
    assert (made["decoders"]["a"] >= 2.0 * decoder.input_ranges(latents, codes)).all()
    expected = calibration.codes_of(model, "a", made["decoders"]["a"], [(latents, codes)], calibration.DAMPING)
    for name, array in expected.items():
        np.testing.assert_array_equal(made["codes"]["a"][name], array)
    with pytest.raises(ValueError, match="expected a piece of audio"):
        calibration.codes_of(model, "a", made["decoders"]["a"], [])
