"""Ranges for int8, measured when a pack that has none is loaded."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.decoder import Decoder
from models.encoder import Encoder
from models.mu_law import encode, network_input
from rtserver import _engine, calibration, model_file
from rtserver.model_config import DecoderConfig, EncoderConfig, ModelConfig
from rtserver.model_file import Model
from rtserver.precision import calibration_for, is_complete

DECODER = DecoderConfig(blocks=2, layers=3, residual_channels=6, skip_channels=10)
CONFIGS = {
    "causal": ModelConfig(
        encoder=EncoderConfig(blocks=1, layers=4, channels=8, latent_channels=4, hop_samples=160), decoder=DECODER
    ),
    "symmetric": ModelConfig(
        encoder=EncoderConfig(blocks=1, layers=6, channels=8, causal=False, latent_channels=4, hop_samples=800),
        decoder=DECODER,
        mu_law="published",
    ),
}


def make(name: str, folder: Path, calibrated: dict | None = None) -> tuple[Model, Encoder, Decoder]:
    """A pack with random weights, and its PyTorch modules."""
    torch.manual_seed(0)
    config = CONFIGS[name]
    encoder = Encoder(config.encoder).eval()
    decoder = Decoder(config.decoder, config.encoder.latent_channels, config.encoder.hop_samples).eval()
    path = folder / "random.pt"
    decoders = {"a": decoder.state_dict()}
    model_file.save(path, config, encoder.state_dict(), decoders, calibration=calibrated)
    return model_file.load(path), encoder, decoder


def test_the_clip_is_loud_and_soft_and_short() -> None:
    clip = calibration.clip()
    assert clip.dtype == np.float32 and len(clip) == 10240
    np.testing.assert_array_equal(clip, calibration.clip())
    loudness = np.abs(clip).reshape(-1, 640).max(axis=1)
    assert loudness.max() > 0.9 and loudness.min() < 0.25


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_heard_is_what_the_encoder_hears(name: str, tmp_path: Path) -> None:
    model, encoder, _ = make(name, tmp_path)
    hop = model.config.encoder.hop_samples
    audio = calibration.clip()[: 3 * hop - 100]
    ready = calibration.open_encoder(model)
    latents, codes = calibration.hear(ready, audio, model)
    expected_codes = encode(torch.from_numpy(np.pad(audio, (0, 100))), model.config.mu_law)
    with torch.no_grad():
        expected = encoder(network_input(expected_codes)[None, None])[0].T.numpy()
    assert latents.shape == (3, 4) and codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, expected_codes.numpy())
    np.testing.assert_allclose(latents, expected, atol=1e-5)
    np.testing.assert_array_equal(latents, calibration.hear(ready, audio, model)[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_pack_gets_the_ranges_that_pytorch_finds(name: str, tmp_path: Path) -> None:
    model, _, decoder = make(name, tmp_path)
    made = calibration.for_pack(model)
    latents, codes = calibration.hear(calibration.open_encoder(model), calibration.clip(), model)
    inputs: list[torch.Tensor] = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda layer, given: inputs.append(given[0][0, :, layer.dilation :]))
    with torch.no_grad():
        decoder(network_input(torch.from_numpy(codes))[None, None], torch.from_numpy(latents.T.copy())[None])
    expected = calibration.HEADROOM * torch.stack(inputs).abs().amax(dim=2).numpy()
    assert made["decoders"]["a"].dtype == np.float32 and expected.min() > 0.0
    np.testing.assert_allclose(made["decoders"]["a"], expected, rtol=1e-4)

    again, _, _ = make(name, tmp_path, made)
    np.testing.assert_array_equal(again.calibration["decoders"]["a"], made["decoders"]["a"])
    assert again.calibration["source"] == calibration.SOURCE
    assert again.calibration["encoder"]["hidden"].shape == (len(model.config.encoder.dilations), 8)


def test_a_pack_without_ranges_of_its_encoder_gets_them(tmp_path: Path) -> None:
    model, _, _ = make("causal", tmp_path)
    made = calibration.for_pack(model)
    decoders = {"a": 2 * made["decoders"]["a"]}
    model, _, _ = make("causal", tmp_path, {"version": 1, "decoders": decoders, "encoder": {}, "source": "training"})
    assert not is_complete(model)
    found = calibration_for(model, "int8")
    assert is_complete(replace(model, calibration=found)) and found["source"].startswith("training; the encoder: ")
    np.testing.assert_array_equal(found["decoders"]["a"], decoders["a"])
    engine = _engine.Encoder(asdict(model.config.encoder), model.encoder)
    expected = engine.ranges(np.concatenate(list(calibration.hops(calibration.heard(), model))))
    for name, greatest in expected.items():
        np.testing.assert_array_equal(found["encoder"][name], greatest)
    assert calibration_for(model, "fp32") is model.calibration
