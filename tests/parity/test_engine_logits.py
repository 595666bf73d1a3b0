"""The engine against models.Decoder, on every instruction set of this machine, and its promises about streams."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from models.decoder import Decoder as TorchDecoder
from rtserver import _engine
from rtserver.model_config import PRESETS, DecoderConfig
from tests.parity.networks import pytorch_logits, random_decoder

FLOAT_KERNELS = {"avxvnni": "avx2", "avx512vnni": "avx512", "neondot": "neon"}  # sets that add integer products alone
ISAS = [isa for isa in _engine.available_isas() if isa not in FLOAT_KERNELS]
TOLERANCE = 1e-4  # float32 sums of some hundred terms over 40 layers differ by their order: 1e-5 is typical

# name: decoder, latent channels, hop, samples
CASES: dict[str, tuple[DecoderConfig, int, int, int]] = {
    "live": (PRESETS["live"].decoder, 16, 160, 240),
    "paper": (PRESETS["paper"].decoder, 64, 800, 200),
    "narrow": (DecoderConfig(3, 10, 32, 32), 12, 160, 2400),
    "wide skip": (DecoderConfig(2, 8, 64, 128), 16, 160, 700),
    "odd": (DecoderConfig(2, 7, 37, 53), 5, 100, 700),
    "tiny": (DecoderConfig(1, 3, 1, 1), 1, 7, 50),
    "between": (DecoderConfig(2, 6, 48, 80), 3, 33, 300),
    "predictive": (DecoderConfig(2, 6, 48, 80, prediction_order=37), 3, 33, 900),
    "predictive live": (DecoderConfig(2, 9, 48, 64, prediction_order=128), 16, 160, 2400),
}


def build(name: str, gain: float = 1.0) -> tuple[dict[str, Any], TorchDecoder, dict[str, np.ndarray]]:
    """Config for the engine, the PyTorch module with random weights, and these weights. `gain` sharpens the logits."""
    decoder, latent_channels, hop, _ = CASES[name]
    return random_decoder(decoder, latent_channels, hop, gain)


def engine(name: str, isa: str, gain: float = 4.0) -> _engine.Decoder:
    config, _, weights = build(name, gain)
    return _engine.Decoder(config, weights, isa=isa)


def chances(decoder: _engine.Decoder, latents: np.ndarray, codes: np.ndarray, temperature: float) -> np.ndarray:
    """Of all codes at each sample [T, 256], float64, given the codes before it."""
    scaled = decoder.logits(latents, codes).astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return found


def signal(name: str, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Random latents [H, L] and codes [T]."""
    _, channels, hop, samples = CASES[name]
    rng = np.random.default_rng(seed)
    hops = -(-samples // hop)
    return rng.standard_normal((hops, channels)).astype(np.float32), rng.integers(0, 256, samples).astype(np.uint8)


@pytest.mark.parametrize("name", CASES)
def test_logits_match_pytorch(name: str) -> None:
    config, module, weights = build(name)
    latents, codes = signal(name)
    expected = pytorch_logits(module, latents, codes)
    assert np.ptp(expected) > 0.5
    for isa in ISAS:
        found = _engine.Decoder(config, weights, isa=isa).logits(latents, codes)
        assert found.shape == expected.shape and found.dtype == np.float32
        assert np.abs(found - expected).max() < TOLERANCE, isa


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gate_keeps_its_stated_error(isa: str, sign: float) -> None:
    """sigmoid(a) tanh(b) to 3e-7, saturated and tiny arguments too: a network wired so that it is the first logit."""
    config = {"blocks": 1, "layers": 1, "residual_channels": 1, "skip_channels": 1, "kernel_size": 2, "classes": 256}
    config |= {"latent_channels": 2, "hop_samples": 1}
    module = TorchDecoder(DecoderConfig(1, 1, 1, 1), 2, 1)
    weights = {k: np.zeros(v.shape, np.float32) for k, v in module.state_dict().items()}
    weights["layers.0.latent.weight"][:, :, 0] = np.eye(2)
    weights["layers.0.skip.weight"][:] = sign  # a ReLU follows: one sign of b at a time
    weights["output.weight"][:] = weights["logits.weight"][:] = 1.0
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform(-6, 2.5, (20_000, 2))
    latents = (scales * rng.choice([-1.0, 1.0], scales.shape)).astype(np.float32)
    a, b = latents.astype(np.float64).T
    with np.errstate(over="ignore"):
        expected = np.maximum(sign * np.tanh(b) / (1.0 + np.exp(-a)), 0.0)
    found = _engine.Decoder(config, weights, isa=isa).logits(latents, np.zeros(len(latents), np.uint8))[:, 0]
    assert expected.max() > 0.999
    assert np.abs(found - expected).max() < 3e-7


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["between", "predictive"])
def test_generated_codes_continue_whatever_the_calls(isa: str, name: str) -> None:
    """Hops one by one, in twos, all at once: the same codes. The hop (33) is no multiple of the chunk (16)."""
    latents, _ = signal(name)
    decoder = engine(name, isa)
    whole = decoder.open_slot(seed=5).generate(latents)
    assert len(set(whole.tolist())) > 20
    for step in (1, 2, 3):
        slot = decoder.open_slot(seed=5)
        parts = [slot.generate(latents[i : i + step]) for i in range(0, len(latents), step)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert slot.position == len(whole)


@pytest.mark.parametrize("isa", ISAS)
def test_generated_codes_follow_the_logits(isa: str) -> None:
    """Free-running generation agrees with teacher forcing on its own output: argmax, and inverse cumulative softmax."""
    latents, _ = signal("narrow")
    decoder = engine("narrow", isa, gain=6.0)

    greedy = decoder.open_slot(seed=1, temperature=0.0).generate(latents)
    np.testing.assert_array_equal(greedy, decoder.logits(latents, greedy).argmax(axis=1))

    seed, temperature = 2**63 + 7, 0.8
    codes = decoder.open_slot(seed=seed, temperature=temperature).generate(latents)
    cumulative = np.cumsum(chances(decoder, latents, codes, temperature), axis=1)
    uniform = np.array([_engine.uniform(seed, t) for t in range(len(codes))])
    rows = np.arange(len(codes))
    low = np.where(codes > 0, cumulative[rows, codes.astype(int) - 1], 0.0)
    assert np.all(low <= uniform + 1e-5) and np.all(uniform <= cumulative[rows, codes] + 1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["between", "predictive"])
def test_it_plays_alone_for_stretches_of_a_signal(isa: str, name: str) -> None:
    """All of a signal its own is what a slot plays; none of it stays; a stretch is what the true past leads it to."""
    latents, codes = signal(name)
    decoder = engine(name, isa)
    numbers = np.array([_engine.uniform(5, t) for t in range(len(codes))], np.float32)
    everywhere = np.ones(len(codes), bool)
    played = decoder.open_slot(5, 0.8).generate(latents)[: len(codes)]
    np.testing.assert_array_equal(decoder.say(latents, codes, everywhere, numbers, 0.8), played)
    np.testing.assert_array_equal(decoder.say(latents, codes, ~everywhere, numbers), codes)
    own = np.zeros(len(codes), bool)
    own[100:180] = True
    said = decoder.say(latents, codes, own, numbers, 0.8)
    np.testing.assert_array_equal(said[~own], codes[~own])
    of_said = chances(decoder, latents, said, 0.8)[own][np.arange(80), said[own]]  # led by what it said before
    assert (of_said > 0.0).all() and len(set(said[own].tolist())) > 10
    for arguments, expected in (
        ((latents, codes, own[1:], numbers), "own and numbers: expected"),
        ((latents, codes, own, numbers, 0.0), "temperature: expected a number above 0"),
    ):
        with pytest.raises(ValueError, match=expected):
            decoder.say(*arguments)


@pytest.mark.parametrize("isa", ISAS)
def test_sampling_has_the_softmax_distribution(isa: str) -> None:
    """Chi-square of the first sample over many seeds: its logits do not depend on the seed."""
    config, _, weights = build("tiny")
    rng = np.random.default_rng(3)
    weights["logits.bias"] = (2.0 * rng.standard_normal(256)).astype(np.float32)
    config["hop_samples"] = 1
    decoder = _engine.Decoder(config, weights, isa=isa)
    latents = np.zeros((1, 1), np.float32)
    draws, temperature = 40_000, 1.3
    slot = decoder.open_slot(temperature=temperature)
    counts = np.zeros(256)
    for seed in range(draws):
        slot.reset(seed)
        counts[slot.generate(latents)[0]] += 1
    scaled = decoder.logits(latents, np.zeros(1, np.uint8))[0].astype(np.float64) / temperature
    expected = np.exp(scaled) / np.exp(scaled).sum() * draws
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # 255 degrees of freedom: mean 255, standard deviation 22.6. Without the temperature it is in the thousands.
    assert 255 - 5 * 22.6 < chi_square < 255 + 5 * 22.6
    plain = np.exp(scaled * temperature)
    plain *= draws / plain.sum()
    assert ((counts - plain) ** 2 / plain).sum() > 1000


@pytest.mark.parametrize("isa", ISAS)
def test_slots_are_independent(isa: str) -> None:
    """Four slots advanced by turns, and four at once in threads, each give what one alone gives."""
    decoder = engine("odd", isa)
    inputs = [signal("odd", seed)[0] for seed in range(4)]
    alone = [decoder.open_slot(seed).generate(latents) for seed, latents in enumerate(inputs)]
    assert len({a.tobytes() for a in alone}) == 4

    slots = [decoder.open_slot(seed) for seed in range(4)]
    by_turns: list[list[np.ndarray]] = [[] for _ in slots]
    for hop in range(len(inputs[0])):
        for slot, latents, codes in zip(slots, inputs, by_turns, strict=True):
            codes.append(slot.generate(latents[hop : hop + 1]))
    for codes, expected in zip(by_turns, alone, strict=True):
        np.testing.assert_array_equal(np.concatenate(codes), expected)

    at_once: dict[int, np.ndarray] = {}

    def play(seed: int) -> None:
        at_once[seed] = decoder.open_slot(seed).generate(inputs[seed])

    threads = [threading.Thread(target=play, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, expected in enumerate(alone):
        np.testing.assert_array_equal(at_once[seed], expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["between", "predictive"])
def test_reset_equals_fresh(isa: str, name: str) -> None:
    latents, _ = signal(name)
    decoder = engine(name, isa)
    slot = decoder.open_slot(seed=1)
    first = slot.generate(latents)
    slot.reset(2)
    assert slot.position == 0
    other = slot.generate(latents)
    slot.reset(1)
    np.testing.assert_array_equal(slot.generate(latents), first)
    np.testing.assert_array_equal(decoder.open_slot(seed=2).generate(latents), other)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("isa", ISAS)
def test_hostile_latents_do_no_lasting_harm(isa: str) -> None:
    """NaN counts as zero and infinities are clamped, so that the histories stay finite."""
    latents, _ = signal("between")
    decoder = engine("between", isa)
    nan, zero = latents.copy(), latents.copy()
    nan[1, :], zero[1, :] = np.nan, 0.0
    np.testing.assert_array_equal(decoder.open_slot(1).generate(nan), decoder.open_slot(1).generate(zero))
    infinite = latents.copy()
    infinite[0, 0], infinite[0, 1] = np.inf, -np.inf
    assert np.isfinite(decoder.logits(infinite, np.zeros(2 * 33, np.uint8))).all()


def test_uniform_is_philox() -> None:
    """Known answers of the Random123 distribution (first word), and the range."""
    assert _engine.uniform(0, 0) == (0x6627E8D5 >> 8) / 2**24
    assert 0.0 <= min(_engine.uniform(9, t) for t in range(1000)) < 0.01
    assert 0.99 < max(_engine.uniform(9, t) for t in range(1000)) < 1.0


def test_isa_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    config, _, weights = build("tiny")
    monkeypatch.delenv("RTSERVER_ISA", raising=False)
    assert _engine.Decoder(config, weights).isa == ISAS[-1]
    for isa in _engine.available_isas():
        monkeypatch.setenv("RTSERVER_ISA", isa)
        assert _engine.Decoder(config, weights).isa == FLOAT_KERNELS.get(isa, isa)
    monkeypatch.setenv("RTSERVER_ISA", "mmx")
    with pytest.raises(ValueError, match=r'RTSERVER_ISA: expected .*scalar.* found "mmx"'):
        _engine.Decoder(config, weights)


def _without(name: str) -> Any:
    return lambda config, weights: weights.pop(name)


def _set(name: str, value: Any) -> Any:
    return lambda config, weights: weights.__setitem__(name, value)


def _config(name: str, value: Any) -> Any:
    return lambda config, weights: config.__setitem__(name, value)


BAD: dict[str, tuple[Any, str]] = {
    "missing tensor": (_without("layers.1.skip.bias"), r"layers\.1\.skip\.bias of shape \[1\], found none"),
    "unknown tensor": (_set("extra", np.zeros(1, np.float32)), "unknown one: extra"),
    "shape": (_set("logits.weight", np.zeros((255, 1, 1), np.float32)), r"\[256, 1, 1\], found \[255, 1, 1\]"),
    "dtype": (_set("input.bias", np.zeros(1, np.float64)), "input.bias: expected float32 values, found float64"),
    "not an array": (_set("input.bias", [0.0]), "input.bias: expected an array .* found list"),
    "order": (_set("logits.bias", np.zeros(512, np.float32)[::2]), "logits.bias: expected a C-contiguous"),
    "NaN": (_set("input.bias", np.full(1, np.nan, np.float32)), "finite numbers in input.bias"),
    "kernel": (_config("kernel_size", 3), "expected kernel_size 2, found 3"),
    "classes": (_config("classes", 128), "expected classes 256, found 128"),
    "dilation": (_config("layers", 21), "expected layers from 1 to 20, found 21"),
    "negative": (_config("residual_channels", -1), "residual_channels from 1 to 4096, found -1"),
    "not a number": (_config("hop_samples", "160"), "expected an integer hop_samples, found '160'"),
    "mu law": (_config("mu_law", "a-law"), "expected mu_law"),
    "unknown field": (_config("dropout", 0), "unknown fields"),
    "absent field": (lambda config, weights: config.pop("blocks"), "expected an integer blocks, found none"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_models_are_refused_by_name(case: str) -> None:
    config, _, weights = build("tiny")
    _engine.Decoder(config, weights)
    change, message = BAD[case]
    change(config, weights)
    with pytest.raises(ValueError, match=message):
        _engine.Decoder(config, weights)


def test_bad_calls_are_refused() -> None:
    config, _, weights = build("tiny")
    with pytest.raises(ValueError, match="expected precision"):
        _engine.Decoder(config, weights, precision="float8")
    decoder = _engine.Decoder(config, weights)
    slot = decoder.open_slot()
    for bad in (np.zeros((1, 2), np.float32), np.zeros(1, np.float32), np.zeros((1, 1))):
        with pytest.raises(ValueError, match="latents: expected"):
            slot.generate(bad)
    with pytest.raises(ValueError, match="at most 7 samples for 1 latents, found 8"):
        decoder.logits(np.zeros((1, 1), np.float32), np.zeros(8, np.uint8))
    for temperature in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature"):
            slot.temperature = temperature
    assert slot.generate(np.zeros((0, 1), np.float32)).shape == (0,)
