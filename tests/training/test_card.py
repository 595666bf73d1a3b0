"""Figures of an evaluation go into a pack's card: of the first decoder for the whole, of another one for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.decoder import Decoder
from models.encoder import Encoder
from rtserver import model_file
from tests.training.conftest import MODEL
from training.evaluate.command import write_card


def test_each_decoder_has_its_figures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "two.pt"
    decoders = {
        name: Decoder(MODEL.decoder, MODEL.encoder.latent_channels, MODEL.encoder.hop_samples).state_dict()
        for name in ("first", "second")
    }
    card = {"licence": "MIT", "metrics": {"old": 1}, "instruments": {"second": {"pack": "other"}}}
    model_file.save(path, MODEL, Encoder(MODEL.encoder).state_dict(), decoders, card, half=True)
    before = model_file.load(path)
    write_card(path, {"model": "two", "decoder": "first", "sha256": "0" * 64, "pitch": {"clip": 0.9}})
    write_card(path, {"model": "two", "decoder": "second", "sha256": "0" * 64, "pitch": {"clip": 0.5}})
    write_card(path, {"model": "two", "sha256": "0" * 64, "table2": {"n": 3}})
    after = model_file.load(path)
    assert after.card["metrics"] == {
        "old": 1, "model": "two", "decoder": "first", "pitch": {"clip": 0.9}, "table2": {"n": 3}
    }  # fmt: skip
    assert after.card["instruments"]["second"] == {
        "pack": "other", "metrics": {"model": "two", "decoder": "second", "pitch": {"clip": 0.5}}
    }  # fmt: skip
    assert all(np.array_equal(a, before.decoders["second"][k]) for k, a in after.decoders["second"].items())
