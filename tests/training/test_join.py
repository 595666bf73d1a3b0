"""Packs with the same encoder become one, and every weight keeps its bits; others are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.decoder import Decoder
from models.encoder import Encoder
from rtserver import model_file, pipeline
from rtserver.errors import UserError
from tests.training.conftest import MODEL
from training.join import join

LATENTS, HOP = MODEL.encoder.latent_channels, MODEL.encoder.hop_samples


def pack(path: Path, *names: str, encoder_seed: int = 1, calibrated: bool = True) -> Path:
    torch.manual_seed(encoder_seed)
    encoder = Encoder(MODEL.encoder).state_dict()
    torch.manual_seed(sum(map(ord, path.stem)))
    decoders = {name: Decoder(MODEL.decoder, LATENTS, HOP).state_dict() for name in names}
    calibration: dict[str, Any] = {
        "version": 1,
        "decoders": {name: np.full((6, 8), 2.0 + len(name), np.float32) for name in names},
        "source": path.stem,
    }
    card = {"licence": "MIT", "recipe": {"config": path.stem}, "metrics": {"clips": 3}}
    model_file.save(path, MODEL, encoder, decoders, card, calibration=calibration if calibrated else None, half=True)
    return path


def test_all_decoders_in_one_pack(tmp_path: Path) -> None:
    first, second = pack(tmp_path / "first.pt", "a", "bb"), pack(tmp_path / "second.pt", "ccc")
    packs = [model_file.load(first), model_file.load(second)]
    made = join(packs, tmp_path / "all.pt")
    assert list(made.decoders) == ["a", "bb", "ccc"] and made.encoder_sha256 == packs[0].encoder_sha256
    for source in packs:
        for name, weights in source.decoders.items():
            assert all(np.array_equal(made.decoders[name][key], value) for key, value in weights.items())
            assert np.array_equal(made.calibration["decoders"][name], source.calibration["decoders"][name])
    audio = np.sin(np.arange(4000) * 0.3).astype(np.float32)
    for source, name in ((packs[0], "bb"), (packs[1], "ccc")):
        played = [pipeline.translate(model, audio, 16000, name, 7) for model in (source, made)]
        assert np.array_equal(*played)
    assert made.card["name"] == "all" and made.card["licence"] == "MIT"
    assert made.card["recipe"] == {"config": "first"}
    told = made.card["instruments"]["ccc"]
    assert told["recipe"] == {"config": "second"} and told["pack_sha256"] == packs[1].sha256
    assert (tmp_path / "all.pt").stat().st_size < first.stat().st_size + second.stat().st_size, "float16 stays"


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    first = model_file.load(pack(tmp_path / "first.pt", "a"))
    for other, words in (
        (pack(tmp_path / "again.pt", "a"), "a decoder a is in another pack already"),
        (pack(tmp_path / "stranger.pt", "b", encoder_seed=2), "stranger has another encoder than first"),
        (pack(tmp_path / "raw.pt", "c", calibrated=False), "every pack calibrated or none"),
    ):
        with pytest.raises(UserError, match=words):
            join([first, model_file.load(other)], tmp_path / "all.pt")
    assert not (tmp_path / "all.pt").exists()


def test_the_command(tmp_path: Path) -> None:
    packs = [str(pack(tmp_path / f"{name}.pt", name)) for name in ("one", "two")]
    command = [sys.executable, "-m", "training.join", "-o", str(tmp_path / "all.pt")]
    done = subprocess.run([*command, *packs], capture_output=True, text=True, check=True)
    assert "one, two;" in done.stdout
    wrong = subprocess.run([*command, packs[0], packs[0]], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and "decoder one" in wrong.stderr and "Traceback" not in wrong.stderr
