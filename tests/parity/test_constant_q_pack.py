"""A pack with a filter bank and pre-emphasis: written, read, prepared, played; packs from before there was either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.decoder import Decoder
from models.emphasis import deemphasise, emphasise
from models.encoder import Encoder
from models.mu_law import decode_table, encode
from rtserver import calibration, model_file, networks, pipeline, precision, prepared
from rtserver.bench import encoder as bench_encoder
from rtserver.commands import info
from rtserver.errors import UserError
from rtserver.model_check import encoder_range_shapes
from rtserver.model_config import ConstantQConfig, DecoderConfig, EncoderConfig, ModelConfig

BANK = ConstantQConfig(lowest_note=57, octaves=3, bins_per_octave=12, window_samples=1024)
CONFIG = ModelConfig(
    preset="tiny",
    emphasis=0.85,
    encoder=EncoderConfig(blocks=1, layers=3, channels=16, latent_channels=4, front_end=BANK),
    decoder=DecoderConfig(blocks=1, layers=3, residual_channels=8, skip_channels=12),
)
BEFORE = replace(CONFIG, emphasis=0.0, encoder=replace(CONFIG.encoder, front_end=None))


def content(config: ModelConfig) -> dict[str, Any]:
    torch.manual_seed(0)
    e, d = config.encoder, config.decoder
    decoder = Decoder(d, e.latent_channels, e.hop_samples).state_dict()
    encoder = dict(Encoder(e).state_dict())
    return {"format": model_file.FORMAT, "config": config.to_dict(), "encoder": encoder, "decoders": {"a": decoder}}


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(prepared.VARIABLE, str(tmp_path / "cache"))
    values = content(CONFIG)
    model_file.save(tmp_path / "tiny.pt", CONFIG, values["encoder"], values["decoders"])
    return tmp_path / "tiny.pt"


def noise(samples: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples).astype(np.float32)


def test_the_filters_are_not_in_the_pack(pack: Path) -> None:
    model = model_file.load(pack)
    assert model.config == CONFIG and model.encoder["input.weight"].shape == (16, 36, 3)
    assert model.config.input_encoding == "linear"
    assert model.decoder_config("a")["emphasis"] == 0.85


def test_prepared_it_plays_the_same_bits(pack: Path) -> None:
    truth = model_file.load(pack)
    assert prepared.find(pack) is None
    first = prepared.load(pack, "int8")
    found = prepared.find(pack, "int8")
    assert found is not None, "a pack without ranges of its encoder is complete"
    assert found[0].config == CONFIG and found[0].encoder_sha256 == truth.encoder_sha256
    assert found[0].calibration["encoder"] == {} and found[0].calibration["decoders"].keys() == {"a"}
    heard = noise(16000)
    played = [pipeline.translate(model, heard, 16000, seed=3, precision="int8") for model in (truth, first, found[0])]
    assert np.std(played[0]) > 1e-3
    for other in played[1:]:
        assert np.array_equal(other, played[0])


def test_its_calibration_can_be_written(pack: Path, tmp_path: Path) -> None:
    model = model_file.load(pack)
    made = precision.calibration_for(model, "int4")
    assert made["encoder"] == encoder_range_shapes(CONFIG.encoder) == {}
    path = tmp_path / "calibrated.pt"
    model_file.save(path, CONFIG, model.encoder, model.decoders, calibration=made)
    again = model_file.load(path)
    assert precision.is_complete(again) and precision.is_complete(again, "int4")
    assert precision.calibration_for(again, "int4") is again.calibration
    with pytest.raises(UserError, match="not expected: input"):
        wrong = {**made, "encoder": {"input": np.zeros((3, 16), np.float32)}}
        model_file.save(path, CONFIG, model.encoder, model.decoders, calibration=wrong)


@pytest.mark.parametrize("config", [CONFIG, replace(BEFORE, emphasis=0.5), BEFORE])
def test_the_codes_it_is_measured_on_are_of_emphasised_audio(config: ModelConfig, tmp_path: Path) -> None:
    values = content(config)
    model_file.save(tmp_path / "m.pt", config, values["encoder"], values["decoders"])
    model = model_file.load(tmp_path / "m.pt")
    audio = calibration.clip()[:1500]
    latents, codes = calibration.hear(calibration.open_encoder(model), audio, model)
    padded = torch.from_numpy(np.pad(audio, (0, 100)))
    expected = encode(emphasise(padded, config.emphasis), config.mu_law).numpy()
    assert latents.shape == (10, 4) and codes.dtype == np.uint8
    assert np.array_equal(codes, expected)
    assert np.array_equal(calibration.codes_played(audio, model), codes)
    assert all(np.abs(hop).max() <= 1.0 for hop in calibration.hops(audio, model))


def test_what_is_played_is_what_its_networks_say(pack: Path) -> None:
    """By the parts, in PyTorch's arithmetic for the encoder: latents, codes, audio."""
    model = model_file.load(pack)
    translator = pipeline.Translator(model, precision="fp32")
    audio = noise(3200)
    latents = translator.embed(audio, 16000)
    torch.manual_seed(0)
    encoder = Encoder(CONFIG.encoder)
    encoder.load_state_dict({k: torch.from_numpy(v) for k, v in model.encoder.items()})
    with torch.no_grad():
        expected = encoder(torch.from_numpy(audio)[None, None])[0].T.numpy()
    np.testing.assert_allclose(latents, expected, atol=1e-4)
    codes = networks.decoder(model, "a", "fp32").open_slot(7).generate(latents)
    wanted = np.clip(deemphasise(decode_table()[codes].astype(np.float64), CONFIG.emphasis), -1.0, 1.0)
    assert np.array_equal(translator.render(latents, 16000, "a", 7), wanted.astype(np.float32))
    assert np.array_equal(pipeline.translate(model, audio, 16000, "a", 7, precision="fp32"), wanted.astype(np.float32))


def test_packs_from_before_are_as_they_were(tmp_path: Path) -> None:
    values = content(BEFORE)
    torch.save(values, tmp_path / "now.pt")
    del values["config"]["emphasis"], values["config"]["encoder"]["front_end"]
    torch.save(values, tmp_path / "old.pt")
    old, now = model_file.load(tmp_path / "old.pt"), model_file.load(tmp_path / "now.pt")
    assert old.config == now.config == BEFORE and old.encoder_sha256 == now.encoder_sha256
    assert old.config.input_encoding == "mu_law_rounded" and old.decoder_config()["emphasis"] == 0.0
    assert np.array_equal(*(pipeline.translate(model, noise(1600), 16000) for model in (old, now)))


def test_info_and_bench_know_it(pack: Path) -> None:
    told = info.describe(model_file.load(pack))
    assert told["emphasis"] == 0.85 and told["encoder"]["front_end"]["window_samples"] == 1024
    assert info.describe(model_file.load("identity16k"))["encoder"] is None
    figures = bench_encoder.run(model=str(pack), seconds=0.05)
    assert (figures["device"], figures["precision"], figures["front_end"]["octaves"]) == ("cpu", "fp32", 3)
    with pytest.raises(UserError, match="no ONNX graph"):
        bench_encoder.run(preset="constant_q", seconds=0.05, onnx=True)
