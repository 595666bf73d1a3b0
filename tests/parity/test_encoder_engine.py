"""The engine's encoder gives the latents of the PyTorch encoder; int8 has the same bits on every instruction set."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from models.encoder import Encoder
from rtserver import _engine
from rtserver.model_config import PRESETS, EncoderConfig
from tests.parity.encoder_configs import KINDS, SMALL
from tests.parity.encoders import Floats, network, streamed, whole

ISAS = _engine.available_isas()

CONFIGS = {
    **KINDS,
    "one layer, one channel": replace(SMALL, blocks=1, layers=1, channels=1, latent_channels=1, hop_samples=1),
    "7 layers, 48 channels": replace(SMALL, blocks=1, layers=7, channels=48),
    "7 layers, 96 channels, symmetric": replace(SMALL, causal=False, blocks=1, layers=7, channels=96),
    "43 channels, hop of 37": replace(SMALL, channels=43, hop_samples=37, latent_channels=33),
    "64 channels, activation first": replace(SMALL, channels=64, pre_activation=True),
    "30 layers": replace(PRESETS["live"].encoder, channels=32),
    "two layers, 128 channels": replace(SMALL, blocks=1, layers=2, channels=128, hop_samples=100),
}


def weights_of(encoder: Encoder) -> dict[str, Floats]:
    return {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}


def opened(encoder: Encoder, isa: str = "auto", precision: str = "fp32") -> _engine.Encoder:
    config, weights = asdict(encoder.config), weights_of(encoder)
    calibration = None
    if precision == "int8":
        calibration = _engine.Encoder(config, weights).ranges(noise(encoder.config, 40, seed=3))
    return _engine.Encoder(config, weights, isa=isa, precision=precision, calibration=calibration)


def noise(config: EncoderConfig, hops: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, hops * config.hop_samples).astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CONFIGS)
def test_fp32_latents_are_those_of_pytorch(name: str, isa: str) -> None:
    encoder = network(CONFIGS[name])
    hop = encoder.config.hop_samples
    stream = opened(encoder, isa).open_stream()
    for hops in (1, 2, 17):
        x = noise(encoder.config, hops)
        found = streamed(stream, x, hop)
        assert found.shape == (hops, encoder.config.latent_channels)
        # float32 through at most 31 residual layers, values of order 1: 1e-5 is some 100 units in the last place.
        np.testing.assert_allclose(found, whole(encoder, x), rtol=0, atol=1e-5)
        stream.reset()


@pytest.mark.parametrize("name", CONFIGS)
def test_fp32_has_the_same_bits_on_every_vector_set(name: str) -> None:
    encoder = network(CONFIGS[name])
    x = noise(encoder.config, 9)
    found = [streamed(opened(encoder, isa), x, encoder.config.hop_samples) for isa in ISAS if isa != "scalar"]
    for other in found[1:]:
        assert np.array_equal(other, found[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_int8_has_the_same_bits_everywhere_and_stays_close(name: str) -> None:
    encoder = network(CONFIGS[name])
    config = encoder.config
    x = noise(config, 17)
    scalar = opened(encoder, "scalar", "int8")
    assert (scalar.isa, scalar.precision) == ("scalar", "int8")
    found = streamed(scalar, x, config.hop_samples)
    for isa in ISAS[1:]:
        assert np.array_equal(streamed(opened(encoder, isa, "int8"), x, config.hop_samples), found), isa
    exact = whole(encoder, x)
    assert not np.array_equal(found, exact)
    # A rounding is off by 1 / sqrt(12) of a unit, of which the loudest moment has 127: 0.23 %, and with signals 12 dB
    # below their loudest 0.9 %. Inputs, hidden activations and weights are rounded, independently: 1.6 %.
    error = float(np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)))
    assert error < 0.016, error


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_paper_preset(precision: str) -> None:
    encoder = network(PRESETS["paper"].encoder)
    x = noise(encoder.config, 6)
    found = streamed(opened(encoder, precision=precision), x, encoder.config.hop_samples)
    exact = whole(encoder, x)
    if precision == "fp32":
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)
    else:
        assert np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)) < 0.016


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["causal", "symmetric"])
def test_streams_and_resets_are_fresh_to_the_bit(name: str, precision: str, isa: str) -> None:
    config = CONFIGS[name]
    encoder = opened(network(config), isa, precision)
    a, b = noise(config, 9, seed=1), noise(config, 9, seed=2)
    alone = [streamed(encoder, x, config.hop_samples) for x in (a, b)]
    assert not np.array_equal(*alone)
    # The same two streams again, taking turns, one of them on a stream that was used before.
    streams = [encoder.open_stream(), encoder.open_stream()]
    streamed(streams[0], b[: 4 * config.hop_samples], config.hop_samples)
    streams[0].reset()
    found: list[list[Floats]] = [[], []]
    for hops in zip(a.reshape(9, -1), b.reshape(9, -1), strict=True):
        for stream, hop, latents in zip(streams, hops, found, strict=True):
            latent = stream.step(hop)
            if latent is not None:
                latents.append(latent)
    for stream, latents, expected in zip(streams, found, alone, strict=True):
        assert np.array_equal(np.stack(latents + stream.finish()), expected)


def test_latents_are_the_callers_own() -> None:
    config = CONFIGS["causal"]
    stream = opened(network(config)).open_stream()
    first = stream.step(noise(config, 1))
    assert first is not None
    kept = first.copy()
    stream.step(noise(config, 1, seed=3))
    assert np.array_equal(first, kept)


def test_a_lookahead_encoder_waits_as_long_as_it_says() -> None:
    config = CONFIGS["symmetric, kernel 5"]  # lookahead 126 at hop 64: two hops
    stream = opened(network(config)).open_stream()
    given = [stream.step(hop) is not None for hop in noise(config, 5).reshape(5, -1)]
    assert given == [False, False, True, True, True]
    assert len(stream.finish()) == 2 and stream.finish() == []
    with pytest.raises(ValueError, match="has ended"):
        stream.step(noise(config, 1))
    stream.reset()
    assert stream.step(noise(config, 1)) is None and len(stream.finish()) == 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["causal", "symmetric", "causal, activation first"])
def test_broken_input_poisons_nothing(name: str, precision: str, isa: str) -> None:
    config = CONFIGS[name]
    encoder = opened(network(config), isa, precision)
    reach = (config.kernel_size - 1) * (1 + sum(config.dilations))
    x = noise(config, 4 + -(-reach // config.hop_samples))
    expected = streamed(encoder, x, config.hop_samples)
    for broken in (np.nan, np.inf, -3e38, 1e-42):
        y = x.copy()
        y[: 2 * config.hop_samples : 3] = broken
        found = streamed(encoder, y, config.hop_samples)
        assert np.isfinite(found).all()
        # Beyond the receptive field nothing is left, to the bit.
        assert np.array_equal(found[-1], expected[-1]) and not np.array_equal(found[0], expected[0])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["causal", "symmetric", "causal, activation first"])
@torch.no_grad()
def test_ranges_are_the_greatest_magnitudes_that_layers_read(name: str, isa: str) -> None:
    encoder = network(CONFIGS[name])
    config = encoder.config
    x = noise(config, 5)
    y = encoder.input(encoder._pad(torch.from_numpy(x)[None, None], 1))
    inputs, hidden = [], []
    for layer in encoder.layers:
        padded = encoder._pad(y, layer.dilation)
        inputs.append((y.relu() if config.pre_activation else y).abs().amax(dim=2)[0])
        hidden.append(layer.dilated(padded).relu().amax(dim=2)[0])
        y = y + layer.branch(padded)
    found = opened(encoder, isa).ranges(x)
    assert sorted(found) == (["input"] if config.pre_activation else ["hidden", "input"])
    np.testing.assert_allclose(found["input"], torch.stack(inputs).numpy(), rtol=0, atol=1e-5)
    if not config.pre_activation:
        np.testing.assert_allclose(found["hidden"], torch.stack(hidden).numpy(), rtol=0, atol=1e-5)


def test_what_is_wrong_is_refused_by_name() -> None:
    encoder = network(SMALL)
    config, weights = asdict(SMALL), weights_of(encoder)
    good = _engine.Encoder(config, weights)
    ranges = good.ranges(noise(SMALL, 2))

    def refused(match: str, **changes: object) -> None:
        arguments = {"config": config, "weights": weights, **changes}
        with pytest.raises(ValueError, match=match):
            _engine.Encoder(**arguments)  # type: ignore[arg-type]

    refused("expected an integer channels, found none", config={k: v for k, v in config.items() if k != "channels"})
    refused("expected an integer layers, found True", config=config | {"layers": True})
    refused("expected a boolean causal, found 1", config=config | {"causal": 1})
    refused("found unknown fields", config=config | {"colour": 1})
    refused("expected kernel_size from 2 to 9, found 1", config=config | {"kernel_size": 1})
    refused("expected an odd kernel_size of a symmetric encoder", config=config | {"causal": False, "kernel_size": 4})
    refused("expected a tensor latent.bias", weights={k: v for k, v in weights.items() if k != "latent.bias"})
    refused("unknown one: extra", weights=weights | {"extra": np.zeros(1, np.float32)})
    refused("input.weight of shape", weights=weights | {"input.weight": np.zeros((16, 3), np.float32)})
    refused("latent.bias: expected float32 values", weights=weights | {"latent.bias": np.zeros(5)})
    refused("finite numbers in latent.bias", weights=weights | {"latent.bias": np.full(5, np.nan, np.float32)})
    refused('found "int9"', precision="int9")
    refused("isa: expected one that this processor has", isa="sse")
    refused("calibration: expected the encoder's ranges for precision int8, found none", precision="int8")
    refused("calibration: expected a dictionary", precision="int8", calibration=ranges["input"])
    refused("calibration: hidden: expected", precision="int8", calibration={"input": ranges["input"]})
    refused("calibration: found unknown", precision="int8", calibration={**ranges, "more": ranges["input"]})
    refused(r"calibration: input: .*\[10, 16\]", precision="int8", calibration={**ranges, "input": ranges["input"][:9]})
    for wrong in (np.nan, np.inf, -1.0):
        bad = np.full_like(ranges["hidden"], wrong)
        refused("hidden of finite magnitudes", precision="int8", calibration={**ranges, "hidden": bad})

    with pytest.raises(ValueError, match="audio: expected a multiple of 64 samples, found 63"):
        good.ranges(np.zeros(63, np.float32))
    with pytest.raises(ValueError, match="ranges: expected an encoder of precision fp32"):
        opened(encoder, precision="int8").ranges(noise(SMALL, 1))
    stream = good.open_stream()
    for hop in (np.zeros(63, np.float32), np.zeros((64, 1), np.float32), np.zeros(64), np.zeros(128, np.float32)[::2]):
        with pytest.raises(ValueError, match="a hop has 64 samples"):
            stream.step(hop)  # type: ignore[arg-type]


def test_silent_calibration_and_silent_weights_are_no_trap() -> None:
    config, weights = asdict(SMALL), weights_of(network(SMALL))
    ranges = {name: np.zeros((10, 16), np.float32) for name in ("input", "hidden")}
    found = _engine.Encoder(config, weights, precision="int8", calibration=ranges)
    assert np.isfinite(streamed(found, noise(SMALL, 3), SMALL.hop_samples)).all()
    silent = {name: np.zeros_like(value) for name, value in weights.items()}
    found = _engine.Encoder(config, silent, precision="int8", calibration=ranges)
    assert not streamed(found, noise(SMALL, 3), SMALL.hop_samples).any()


def test_bf16_is_fp32_here() -> None:
    encoder = network(SMALL)
    x = noise(SMALL, 5)
    assert opened(encoder, precision="bf16").precision == "bf16"
    found = [streamed(opened(encoder, precision=precision), x, SMALL.hop_samples) for precision in ("fp32", "bf16")]
    assert np.array_equal(*found)


def test_it_says_what_it_is() -> None:
    encoder = opened(network(SMALL))
    assert (encoder.hop_samples, encoder.latent_channels, encoder.precision) == (64, 5, "fp32")
    assert encoder.isa in ISAS
    assert encoder.multiply_adds_per_hop == 64 * (16 * 3 + 10 * 16 * 16 * 4) + 16 * 5
