"""A network and a corpus small enough to train and evaluate within a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rtserver.model_config import DecoderConfig, EncoderConfig, ModelConfig
from training.corpus import settings, storage
from training.corpus.midi import Note
from training.corpus.settings import CorpusSettings
from training.corpus.synthesis import render
from training.settings import Settings, TrainSettings

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
    folder = corpus_settings.folder
    folder.mkdir()
    entry = {"name": "melody_train_00", "split": "train", "home": "melody", "timbres": ["a", "b"], "works": []}
    storage.write_index(folder, [entry])
    storage.save_array(storage.roll_path(folder, entry["name"]), storage.piano_roll(notes, 8.5))
    for name, instrument in corpus_settings.instruments.items():
        storage.save_item(folder, entry["name"], name, render(instrument, notes, 8.5, seed=1), {})
    return Settings("tiny", MODEL, corpus_settings, RECIPE)
