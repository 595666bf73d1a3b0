"""The ONNX encoder, which runs on GPUs, gives the latents of the PyTorch encoder; its streams don't mix."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.encoder import Encoder
from rtserver import encoder_graph
from rtserver.encoder import EngineEncoder, open_encoder
from rtserver.encoder_onnx import OnnxEncoder
from rtserver.errors import UserError
from rtserver.model_config import PRESETS, EncoderConfig
from tests.parity.encoder_configs import KINDS

CONFIGS = {
    **KINDS,
    "live, narrow": replace(PRESETS["live"].encoder, channels=32),
    "paper": PRESETS["paper"].encoder,
}


def network(config: EncoderConfig) -> Encoder:
    torch.manual_seed(1)
    return Encoder(config).eval()


def opened(encoder: Encoder) -> OnnxEncoder:
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    return OnnxEncoder(encoder_graph.build(encoder.config, weights), encoder.config)


def streamed(encoder: OnnxEncoder, x: np.ndarray) -> np.ndarray:
    latents = [encoder.step(hop) for hop in x.reshape(-1, encoder.config.hop_samples)]
    return np.stack([latent for latent in latents if latent is not None] + encoder.finish())


def noise(config: EncoderConfig, hops: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, hops * config.hop_samples).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_latents_are_those_of_pytorch(name: str) -> None:
    encoder = network(CONFIGS[name])
    fast = opened(encoder)
    for hops in (1, 6) if name == "paper" else (1, 2, 17):
        x = noise(encoder.config, hops)
        whole = encoder(torch.from_numpy(x)[None, None])[0].T.numpy()
        found = streamed(fast, x)
        assert found.shape == whole.shape == (hops, encoder.config.latent_channels)
        # float32 through at most 31 residual layers, values of order 1: 1e-5 is some 100 units in the last place.
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-5)
        fast.reset()


@pytest.mark.parametrize("name", ["causal", "symmetric"])
def test_forks_and_resets_are_fresh_to_the_bit(name: str) -> None:
    config = CONFIGS[name]
    first = opened(network(config))
    a, b = noise(config, 9, seed=1), noise(config, 9, seed=2)
    alone = streamed(first, a), streamed(first.fork(), b)
    assert not np.array_equal(*alone)
    # The same two streams again, taking turns on one session, one of them on the encoder that was used before.
    second = first.fork()
    first.reset()
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for hop_a, hop_b in zip(a.reshape(9, -1), b.reshape(9, -1), strict=True):
        for encoder, hop, latents in ((first, hop_a, found[0]), (second, hop_b, found[1])):
            latent = encoder.step(hop)
            if latent is not None:
                latents.append(latent)
    found[0].extend(first.finish())
    found[1].extend(second.finish())
    assert np.array_equal(np.stack(found[0]), alone[0]) and np.array_equal(np.stack(found[1]), alone[1])


def test_an_odd_number_of_hops_before_a_reset_leaves_nothing() -> None:
    config = CONFIGS["causal"]
    encoder = opened(network(config))
    x = noise(config, 4)
    first = streamed(encoder, x)
    for hops in (1, 2, 3):
        encoder.reset()
        for hop in noise(config, hops, seed=5).reshape(hops, -1):
            encoder.step(hop)
        encoder.reset()
        assert np.array_equal(streamed(encoder, x), first)


def test_latents_are_the_callers_own() -> None:
    config = CONFIGS["causal"]
    encoder = opened(network(config))
    first = encoder.step(noise(config, 1))
    assert first is not None
    kept = first.copy()
    encoder.step(noise(config, 1, seed=3))
    assert np.array_equal(first, kept)


def test_a_lookahead_encoder_waits_as_long_as_it_says() -> None:
    config = CONFIGS["symmetric, kernel 5"]  # lookahead 126 at hop 64: two hops
    encoder = opened(network(config))
    given = [encoder.step(hop) is not None for hop in noise(config, 5).reshape(5, -1)]
    assert given == [False, False, True, True, True]
    assert len(encoder.finish()) == 2 and encoder.finish() == []
    with pytest.raises(ValueError, match="has ended"):
        encoder.step(noise(config, 1))


def test_a_wrong_hop_is_refused() -> None:
    encoder = opened(network(CONFIGS["causal"]))
    with pytest.raises(ValueError, match="a hop has 64 samples, found shape"):
        encoder.step(np.zeros(63, np.float32))


def test_a_device_that_is_not_there_falls_back(caplog: pytest.LogCaptureFixture) -> None:
    encoder = network(CONFIGS["causal"])
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    found = open_encoder(encoder.config, weights, "cuda")
    if found.device == "cpu":
        assert [r.levelname for r in caplog.records] == ["WARNING"] and "runs on the CPU" in caplog.text
        assert isinstance(found, EngineEncoder)
    assert isinstance(open_encoder(encoder.config, weights), EngineEncoder)
    for unknown in ("tpu", "cuda:x"):
        with pytest.raises(UserError, match=f"unknown device '{unknown}'"):
            open_encoder(encoder.config, weights, unknown)


def test_a_cpu_needs_neither_onnx_nor_onnx_runtime() -> None:
    code = (
        "import sys; from rtserver import networks, pipeline, prepared;"
        "pipeline.Translator(prepared.load('piano'), precision='fp32').open(48000);"
        "print(sorted({'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
