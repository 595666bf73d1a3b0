"""The engine's encoder behind a filter bank gives the latents of the PyTorch encoder, hop by hop, whatever comes."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from models.encoder import Encoder
from rtserver import _engine, encoder_graph
from rtserver.encoder import open_encoder
from rtserver.errors import UserError
from rtserver.model_config import PRESETS, ConstantQConfig, EncoderConfig
from tests.parity.encoders import Floats, network, streamed, whole

ISAS = _engine.available_isas()
BANK = ConstantQConfig(lowest_note=57, octaves=2, bins_per_octave=12, periods=16, window_samples=1024)
SMALL = EncoderConfig(blocks=2, layers=3, channels=16, latent_channels=5, hop_samples=64, front_end=BANK)
CONFIGS = {
    "small": SMALL,
    "the preset": PRESETS["constant_q"].encoder,
    "activation first": replace(SMALL, pre_activation=True),
    "kernel 2, 43 channels": replace(SMALL, kernel_size=2, channels=43, latent_channels=33),
    "hop and window alike": replace(SMALL, hop_samples=200, front_end=replace(BANK, window_samples=200)),
    "odd sizes": replace(
        SMALL,
        channels=131,
        hop_samples=37,
        front_end=ConstantQConfig(lowest_note=41, octaves=3, bins_per_octave=19, periods=7, window_samples=1023),
    ),
    "one of everything": EncoderConfig(
        blocks=1, layers=1, channels=1, latent_channels=1, hop_samples=16, front_end=ConstantQConfig(69, 1, 1, 1, 64)
    ),
}
HOPS = 40


def opened(encoder: Encoder, isa: str = "auto", precision: str = "fp32") -> _engine.Encoder:
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    return _engine.Encoder(asdict(encoder.config), weights, isa=isa, precision=precision)


def sounds(samples: int) -> dict[str, Floats]:
    """What an encoder may hear, [samples] each."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / 16000.0
    tones = 0.5 * np.sin(2 * np.pi * 443.7 * time) + 0.05 * np.sin(2 * np.pi * 3011.0 * time)
    upwards = np.sin(np.cumsum(np.geomspace(40.0, 7500.0, samples)) * (2 * np.pi / 16000.0))
    return {
        "noise": rng.uniform(-0.5, 0.5, samples).astype(np.float32),
        "faint noise": (1e-4 * rng.standard_normal(samples)).astype(np.float32),
        "tones": tones.astype(np.float32),
        "sweep": upwards.astype(np.float32),
        "square": np.sign(np.sin(2 * np.pi * 110.3 * time)).astype(np.float32),
        "silence": np.zeros(samples, np.float32),
        "far too loud": (1000.0 * rng.standard_normal(samples)).astype(np.float32),
    }


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CONFIGS)
def test_latents_are_those_of_pytorch(name: str, isa: str) -> None:
    encoder = network(CONFIGS[name])
    hop = encoder.config.hop_samples
    stream = opened(encoder, isa).open_stream()
    for kind, x in sounds(HOPS * hop).items():
        found = streamed(stream, x, hop)
        assert found.shape == (HOPS, encoder.config.latent_channels)
        # Float32 on both sides. Beside a full-scale tone a bin at the floor, 3e-4 of it, is off by 1e-7 or so: its
        # scaled logarithm by 1e-4, and the latents, which mix many bins, by less.
        np.testing.assert_allclose(found, whole(encoder, x), rtol=0, atol=1e-4, err_msg=kind)
        stream.reset()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_vector_set_has_the_same_bits(name: str) -> None:
    encoder = network(CONFIGS[name])
    hop = encoder.config.hop_samples
    for kind, x in sounds(HOPS * hop).items():
        found = [streamed(opened(encoder, isa), x, hop) for isa in ISAS if isa != "scalar"]
        for other in found[1:]:
            assert np.array_equal(other, found[0]), kind


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["small", "activation first", "hop and window alike"])
def test_streams_and_resets_are_fresh_to_the_bit(name: str, isa: str) -> None:
    config = CONFIGS[name]
    encoder = opened(network(config), isa)
    heard = sounds(HOPS * config.hop_samples)
    a, b = heard["noise"], heard["sweep"]
    alone = [streamed(encoder, x, config.hop_samples) for x in (a, b)]
    # The same two again, taking turns, one of them on a stream that was used before.
    streams = [encoder.open_stream(), encoder.open_stream()]
    streamed(streams[0], b[: 7 * config.hop_samples], config.hop_samples)
    streams[0].reset()
    found: list[list[Floats]] = [[], []]
    for hops in zip(a.reshape(HOPS, -1), b.reshape(HOPS, -1), strict=True):
        for stream, hop, latents in zip(streams, hops, found, strict=True):
            latent = stream.step(hop)
            assert latent is not None
            latents.append(latent)
    for latents, expected in zip(found, alone, strict=True):
        assert np.array_equal(np.stack(latents), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["small", "activation first"])
def test_broken_input_poisons_nothing(name: str, isa: str) -> None:
    config = CONFIGS[name]
    encoder = opened(network(config), isa)
    hops = 4 + -(-config.past_samples // config.hop_samples)
    x = np.random.default_rng(2).uniform(-0.5, 0.5, hops * config.hop_samples).astype(np.float32)
    expected = streamed(encoder, x, config.hop_samples)
    for broken in (np.nan, np.inf, -3e38, 1e-42):
        y = x.copy()
        y[: 2 * config.hop_samples : 3] = broken
        found = streamed(encoder, y, config.hop_samples)
        assert np.isfinite(found).all()
        # Beyond the receptive field nothing is left, to the bit.
        assert np.array_equal(found[-1], expected[-1]) and not np.array_equal(found[0], expected[0])


def test_denormals_are_silence() -> None:
    config = PRESETS["constant_q"].encoder
    encoder = opened(network(config))
    silence = np.zeros(HOPS * config.hop_samples, np.float32)
    assert np.array_equal(
        streamed(encoder, silence + np.float32(1e-42), config.hop_samples),
        streamed(encoder, silence, config.hop_samples),
    )


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_it_is_float32_whatever_is_asked_for(precision: str) -> None:
    encoder = network(SMALL)
    x = sounds(HOPS * SMALL.hop_samples)["noise"]
    found = opened(encoder, precision=precision)
    assert found.precision == "fp32" and found.isa in ISAS
    assert np.array_equal(streamed(found, x, 64), streamed(opened(encoder), x, 64))
    assert found.ranges(x) == {}


def test_it_runs_on_the_cpu_whatever_the_device() -> None:
    weights = {name: tensor.numpy() for name, tensor in network(SMALL).state_dict().items()}
    for device in ("cpu", "auto", "cuda", "cuda:1"):
        found = open_encoder(SMALL, weights, device, "int8", {})
        assert (found.device, found.precision) == ("cpu", "fp32")
    with pytest.raises(UserError, match="unknown device"):
        open_encoder(SMALL, weights, "gpu")
    with pytest.raises(ValueError, match="without a front end"):
        encoder_graph.build(SMALL, weights)


def test_what_is_wrong_is_refused_by_name() -> None:
    encoder = network(SMALL)
    config, weights = asdict(SMALL), {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}

    def refused(match: str, front_end: object = None, **changes: object) -> None:
        changed = config if front_end is None else config | {"front_end": front_end}
        with pytest.raises(ValueError, match=match):
            _engine.Encoder(**{"config": changed, "weights": weights, **changes})  # type: ignore[arg-type]

    bank = asdict(BANK)
    refused("encoder config: expected a dictionary front_end, found 7", 7)
    refused("front end: expected an integer octaves, found none", {k: v for k, v in bank.items() if k != "octaves"})
    refused("front end: expected an integer periods, found 1.5", bank | {"periods": 1.5})
    refused("front end: found unknown fields", bank | {"colour": 1})
    refused("expected lowest_note from 12 to 120, found 0", bank | {"lowest_note": 0})
    refused("expected octaves from 1 to 9, found 0", bank | {"octaves": 0})
    refused("expected bins_per_octave from 1 to 96, found 97", bank | {"bins_per_octave": 97})
    refused("expected periods from 1 to 1024, found -1", bank | {"periods": -1})
    refused("expected window_samples from 64 to .*, found 63", bank | {"window_samples": 63})
    refused("expected window_samples from 64 to .*, found 1000000", bank | {"window_samples": 1000000})
    refused("a highest frequency below 8000 Hz, found 8372", bank | {"lowest_note": 97})
    refused("a causal encoder behind a front end", config=config | {"causal": False})
    refused(r"input.weight of shape \[16, 1, 3\]", config={**config, "front_end": None})
    refused("calibration: expected none", precision="int8", calibration={"input": np.zeros((6, 16), np.float32)})
    without = {k: v for k, v in config.items() if k != "front_end"}  # as before there were any
    _engine.Encoder(without, weights | {"input.weight": np.zeros((16, 1, 3), np.float32)})


def test_it_says_what_it_costs() -> None:
    config = PRESETS["constant_q"].encoder
    bank = config.front_end
    assert bank is not None
    lengths = [
        min(bank.window_samples, round(24 * 16000 / (55.0 * 2 ** (k / bank.bins_per_octave)))) for k in range(bank.bins)
    ]
    c = config.channels
    expected = 2 * sum(lengths) + 3 * c * bank.bins + len(config.dilations) * 4 * c * c + c * config.latent_channels
    assert opened(network(config)).multiply_adds_per_hop == expected
