"""The int8 and int4 kernels: the same bits on every instruction set and for any company, and close to fp32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rtserver import _engine
from rtserver.bench.decoder import random_weights
from rtserver.model_config import DecoderConfig
from tests.parity.nearest_codes import nearest_codes

LATENTS = 6
HOP = 40
PRECISIONS = ("int8", "int4")
# Instruction sets whose integer kernels are their own: AVX-512 without VNNI runs those of AVX2.
ISAS = [isa for isa in _engine.available_isas() if isa != "avx512"]
SHAPES = {  # blocks, layers a block, residual, skip
    "one layer": (1, 1, 32, 32),
    "seven layers": (1, 7, 48, 64),
    "thirty layers": (3, 10, 64, 32),
    "fifty-six layers": (4, 14, 32, 48),
    "wide": (1, 3, 256, 256),
    "fused": (1, 6, 128, 128),
    "narrow": (2, 2, 5, 7),
    "uneven": (1, 8, 192, 96),
}


def build(shape: str) -> tuple[dict[str, Any], dict[str, Any]]:
    blocks, layers, residual, skip = SHAPES[shape]
    network = DecoderConfig(blocks=blocks, layers=layers, residual_channels=residual, skip_channels=skip)
    config = {
        "blocks": blocks,
        "layers": layers,
        "residual_channels": residual,
        "skip_channels": skip,
        "kernel_size": 2,
        "classes": 256,
        "latent_channels": LATENTS,
        "hop_samples": HOP,
        "mu_law": "rounded",
    }
    return config, random_weights(network, LATENTS, seed=4)


def stream(samples: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((-(-samples // HOP), LATENTS)).astype(np.float32)
    return latents, rng.integers(0, 256, samples).astype(np.uint8)


def calibrated(config: dict[str, Any], weights: dict[str, Any]) -> np.ndarray:
    return _engine.Decoder(config, weights).input_ranges(*stream(400, seed=2))


def integer_decoder(config: dict[str, Any], weights: dict[str, Any], precision: str, isa: str = "auto") -> Any:
    ranges = calibrated(config, weights)
    codes = nearest_codes(weights, ranges)
    return _engine.Decoder(config, weights, isa=isa, precision=precision, calibration=ranges, codes=codes)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_instruction_set_has_the_bits_of_the_reference(shape: str, precision: str) -> None:
    """Integer sums are exact and the float operations stand in the same order: the tolerance is zero."""
    config, weights = build(shape)
    latents, codes = stream(300)
    decoders = [integer_decoder(config, weights, precision, isa) for isa in ISAS]
    assert [decoder.isa for decoder in decoders] == ISAS
    expected = decoders[0].logits(latents, codes)
    assert expected.std() > 0.1
    for decoder in decoders[1:]:
        np.testing.assert_array_equal(decoder.logits(latents, codes), expected, err_msg=decoder.isa)


@pytest.mark.parametrize(("precision", "error_a_layer"), [("int8", 0.01), ("int4", 0.03)])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_close_to_fp32(shape: str, precision: str, error_a_layer: float) -> None:
    """Weights and activations are off by at most 1/254 of the greatest, in int4 the weights by 1/14; errors of layers
    are independent and add up."""
    config, weights = build(shape)
    latents, codes = stream(300)
    exact = _engine.Decoder(config, weights).logits(latents, codes)
    decoder = integer_decoder(config, weights, precision)
    error = decoder.logits(latents, codes) - exact
    assert 0.0 < np.sqrt((error**2).mean()) < error_a_layer * np.sqrt(decoder.layers) * exact.std()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", ["fused", "seven layers"])
def test_company_changes_no_bit(shape: str, isa: str, precision: str) -> None:
    """Slots at other positions, opened and reset in between, in groups of any size."""
    config, weights = build(shape)
    decoder = integer_decoder(config, weights, precision, isa)
    rng = np.random.default_rng(5)
    latents = rng.standard_normal((8, 6, LATENTS)).astype(np.float32)
    expected = np.stack([decoder.open_slot(seed).generate(latents[seed]) for seed in range(8)])

    slots = [decoder.open_slot(seed) for seed in range(8)]
    slots[3].generate(latents[0])
    slots[3].reset(3)
    parts: list[list[np.ndarray]] = [[] for _ in slots]
    parts[1].append(slots[1].generate(latents[1][:1]))  # one hop ahead of the rest
    for first, count in ((0, 1), (0, 2), (0, 5), (0, 8), (2, 3)):
        chosen = [k for k in range(first, first + count) if len(parts[k]) < 6]
        given = np.stack([latents[k][len(parts[k])][None] for k in chosen])
        for k, codes in zip(chosen, _engine.generate_together([slots[k] for k in chosen], given), strict=True):
            parts[k].append(codes)
    for k, codes in enumerate(parts):
        np.testing.assert_array_equal(np.concatenate(codes), expected[k][: HOP * len(codes)], err_msg=f"slot {k}")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_reset_equals_fresh(precision: str) -> None:
    config, weights = build("fused")
    decoder = integer_decoder(config, weights, precision)
    latents = stream(400)[0]
    slot = decoder.open_slot(9)
    slot.generate(latents)
    slot.reset(9)
    np.testing.assert_array_equal(slot.generate(latents), decoder.open_slot(9).generate(latents))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("isa", ISAS)
def test_wild_inputs_stay_finite_and_pass(isa: str, precision: str) -> None:
    """NaN, infinite, huge and tiny latents give finite logits, and what follows is as if they had been clamped."""
    config, weights = build("fused")
    decoder = integer_decoder(config, weights, precision, isa)
    for wild, clamped in ((np.nan, 0.0), (np.inf, 1e6), (-3e38, -1e6), (1e-42, 0.0)):
        latents, codes = stream(4 * HOP)
        tame = latents.copy()
        latents[1], tame[1] = wild, clamped
        logits = decoder.logits(latents, codes)
        assert np.isfinite(logits).all()
        np.testing.assert_array_equal(logits, decoder.logits(tame, codes))


def test_inputs_beyond_the_calibration_saturate() -> None:
    config, weights = build("fused")
    latents, codes = stream(300)
    calibration = calibrated(config, weights)
    tight = _engine.Decoder(config, weights, precision="int8", calibration=calibration * np.float32(0.01))
    logits = tight.logits(latents, codes)
    assert np.isfinite(logits).all()
    nothing = _engine.Decoder(config, weights, precision="int8", calibration=calibration * np.float32(0))
    assert np.isfinite(nothing.logits(latents, codes)).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_greatest_products_have_the_bits_of_the_reference(precision: str) -> None:
    """Every weight is the greatest of its row and every input saturates: pairs of products fill their 16 bits."""
    config, weights = build("seven layers")
    weights = {k: np.copysign(np.abs(w).max(), w) if w.ndim > 1 else w for k, w in weights.items()}
    latents, samples = stream(100)
    tight = calibrated(config, weights) * np.float32(0.01)
    codes = nearest_codes(weights, tight)
    expected = None
    for isa in ISAS:
        decoder = _engine.Decoder(config, weights, isa=isa, precision=precision, calibration=tight, codes=codes)
        logits = decoder.logits(latents, samples)
        expected = logits if expected is None else expected
        assert expected.std() > 0.1
        np.testing.assert_array_equal(logits, expected, err_msg=isa)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "calibration of 6 layers x 128 channels, found none"),
        (np.ones((6, 64), np.float32), r"calibration: expected float32 \[6, 128\]"),
        (np.ones((6, 128)), "calibration: expected float32"),
        (np.full((6, 128), np.nan, np.float32), "finite numbers from 0 up"),
        (np.full((6, 128), -1, np.float32), "finite numbers from 0 up"),
    ],
)
def test_bad_calibrations_are_refused(calibration: Any, message: str) -> None:
    config, weights = build("fused")
    with pytest.raises(ValueError, match=message):
        _engine.Decoder(config, weights, precision="int8", calibration=calibration)


def test_bad_codes_are_refused() -> None:
    config, weights = build("narrow")
    ranges = calibrated(config, weights)
    good = nearest_codes(weights, ranges)

    def refused(codes: dict[str, Any] | None, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            _engine.Decoder(config, weights, precision="int4", calibration=ranges, codes=codes)

    refused(None, "expected the codes of its weights, found none")
    refused({k: v for k, v in good.items() if k != "skip"}, r"codes: expected skip int8 \[layers, S, R\], found none")
    refused(good | {"now": good["now"].astype(np.float32)}, "codes: now: expected int8")
    refused(good | {"now": good["now"][:-1].copy()}, "codes: now: expected 40 rows of 5, found 40 scales and 150 codes")
    refused(good | {"residual": np.full_like(good["residual"], 8)}, "residual: expected -8 to 7, found 8")
    refused(good | {"skip_scale": np.full_like(good["skip_scale"], np.nan)}, "skip: expected scales above 0")


def test_ranges_are_the_greatest_inputs() -> None:
    """Of the first layer they can be had by hand: its input is the input convolution alone."""
    config, weights = build("narrow")
    latents, codes = stream(100)
    decoder = _engine.Decoder(config, weights)
    x = np.concatenate([[0.0, 0.0], codes.astype(np.float64) / 255 - 0.5])[:-1]
    older, newer = np.moveaxis(weights["input.weight"][:, 0, :], 1, 0)
    inputs = np.outer(x[:-1], older) + np.outer(x[1:], newer) + weights["input.bias"]
    expected = np.abs(inputs).max(axis=0)
    np.testing.assert_allclose(decoder.input_ranges(latents, codes)[0], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="expected a decoder of precision fp32, found bf16"):
        _engine.Decoder(config, weights, precision="bf16").input_ranges(latents, codes)
