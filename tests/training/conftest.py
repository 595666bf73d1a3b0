"""A network and a corpus small enough to train and evaluate within a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtserver.model_config import DecoderConfig, EncoderConfig, ModelConfig
from training import corpus, settings
from training.scores import Note
from training.settings import CorpusSettings, Settings, TrainSettings

MODEL = ModelConfig(
    encoder=EncoderConfig(blocks=1, layers=6, channels=8, latent_channels=4),
    decoder=DecoderConfig(blocks=1, layers=6, residual_channels=8, skip_channels=8),
)
RECIPE = TrainSettings(
    domains={"a": 1.0},
    timbre_lags_ms={"a": 0.0, "b": 20.0},
    batch=2,
    segment_seconds=0.2,
    learning_rate=1e-2,
    note_weight=0.3,
    warmup_samples=64,
    bfloat16=False,
)


def with_train(settings: Settings, **changes: Any) -> Settings:
    """The same run with other values in [train]."""
    return replace(settings, train=replace(settings.train, **changes))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two instruments over a few seconds of scales, rendered without a soundfont."""
    monkeypatch.setattr(settings, "CORPORA", tmp_path)
    torch.set_num_threads(1)  # the network is too small to share
    notes = [Note(i * 0.2, i * 0.2 + 0.18, 60 + i % 12, 90) for i in range(40)]
    corpus_settings = CorpusSettings("tiny", (), {"a": "additive", "b": "whistle"}, {})
    corpus_settings.folder.mkdir()
    np.save(corpus_settings.folder / "train_00_notes.npy", corpus.note_labels(notes, 8.5))
    for name, instrument in corpus_settings.instruments.items():
        corpus._render_to(corpus_settings.folder / f"train_00_{name}.npy", instrument, notes, 8.5, seed=1)
    return Settings("tiny", MODEL, corpus_settings, RECIPE)
