"""Precision bf16: the arithmetic of fp32 on weights rounded to bfloat16, on every instruction set of this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rtserver import _engine
from rtserver.model_config import DecoderConfig
from tests.parity.test_engine_logits import CASES, ISAS, TOLERANCE, build, signal

UNROUNDED = ("input.weight", "input_skip.weight")  # as published by DecoderWeights::round_to_bf16; so are all biases


def round_to_bf16(values: np.ndarray) -> np.ndarray:
    """To nearest, ties to even."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def rounded(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: round_to_bf16(values) if name.endswith(".weight") and name not in UNROUNDED else values
        for name, values in weights.items()
    }


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_rounded_weights(name: str, isa: str) -> None:
    config, _, weights = build(name)
    latents, codes = signal(name)
    found = _engine.Decoder(config, weights, isa=isa, precision="bf16").logits(latents, codes)
    expected = _engine.Decoder(config, rounded(weights), isa=isa).logits(latents, codes)
    exact = _engine.Decoder(config, weights, isa=isa).logits(latents, codes)
    assert np.abs(found - expected).max() < TOLERANCE
    assert np.abs(found - exact).max() > 5 * TOLERANCE  # the weights were rounded


@pytest.mark.parametrize("isa", ISAS)
def test_ties_go_to_even_and_finite_weights_stay_finite(isa: str) -> None:
    """The logits are the weights themselves: one channel, whose value is 1 (or 2^-64 for the greatest weights)."""
    config, _, weights = build("tiny")
    weights = {name: np.zeros_like(values) for name, values in weights.items()}
    weights["output.bias"][:] = 1.0
    step = 2.0**-7  # of bfloat16 from 1 on
    cases = [1 + step / 2, 1 + 3 * step / 2, 1 + step / 2 + 2.0**-20, 1 + step / 2 - 2.0**-20, -1 - step / 2, 0.1]
    weights["logits.weight"][: len(cases), 0, 0] = cases
    found = _engine.Decoder(config, weights, isa=isa, precision="bf16").logits(
        np.zeros((1, 1), np.float32), np.zeros(1, np.uint8)
    )[0, : len(cases)]
    np.testing.assert_array_equal(found, np.float32([1, 1 + 2 * step, 1 + step, 1, -1, 0.10009765625]))

    weights["output.bias"][:] = 2.0**-64
    weights["logits.weight"][:2, 0, 0] = np.float32([3.4e38, -3.4e38])
    found = _engine.Decoder(config, weights, isa=isa, precision="bf16").logits(
        np.zeros((1, 1), np.float32), np.zeros(1, np.uint8)
    )[0, :2]
    np.testing.assert_array_equal(found, np.float32([255 * 2.0**56, -255 * 2.0**56]))


@pytest.mark.parametrize("isa", ISAS)
def test_generated_codes_continue_whatever_the_calls(isa: str) -> None:
    config, _, weights = build("between", gain=4.0)
    latents, _ = signal("between")
    decoder = _engine.Decoder(config, weights, isa=isa, precision="bf16")
    whole = decoder.open_slot(seed=5).generate(latents)
    assert len(set(whole.tolist())) > 20
    slot = decoder.open_slot(seed=5)
    np.testing.assert_array_equal(
        np.concatenate([slot.generate(latents[i : i + 1]) for i in range(len(latents))]), whole
    )


def test_half_the_bytes() -> None:
    decoder = DecoderConfig(4, 10, 128, 128)
    config: dict[str, Any] = vars(decoder) | {"latent_channels": 64, "hop_samples": 800}
    _, module, _ = build("tiny")
    shapes = {name: list(values.shape) for name, values in type(module)(decoder, 64, 800).state_dict().items()}
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    full = _engine.Decoder(config, weights).weight_bytes_per_sample
    half = _engine.Decoder(config, weights, precision="bf16").weight_bytes_per_sample
    matrices = sum(
        values.size
        for name, values in weights.items()
        if name.endswith(".weight") and "latent" not in name and name not in UNROUNDED
    )
    assert full - half == 2 * matrices
    assert 0.5 < half / full < 0.51


def test_ranges_are_measured_in_fp32() -> None:
    config, _, weights = build("tiny")
    latents, codes = signal("tiny")
    with pytest.raises(ValueError, match="expected a decoder of precision fp32, found bf16"):
        _engine.Decoder(config, weights, precision="bf16").input_ranges(latents, codes)
