"""A training configuration, as written in `training/configs/*.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from rtserver.model_config import PRESETS, ModelConfig

CORPORA = Path(__file__).parent / "corpora"


@dataclass(frozen=True)
class CorpusSettings:
    """What is rendered. instruments: name -> `program:N`, `whistle` or `additive`; reels: how many a split."""

    name: str
    score_domains: tuple[str, ...]
    instruments: dict[str, str]
    reels: dict[str, int]
    reel_seconds: float = 600.0

    @property
    def folder(self) -> Path:
        return CORPORA / self.name


@dataclass(frozen=True)
class TrainSettings:
    """How it is trained. Names follow Mor et al. 2018 where the paper has one; the others are explained in
    docs/training.md."""

    domains: dict[str, float]  # decoder name -> share of the steps
    timbre_lags_ms: dict[str, float]  # instruments that the encoder hears -> how late they speak (see Corpus.draw)
    timbre_probability: float = 0.5  # how often the encoder hears the same passage in another timbre
    batch: int = 8
    segment_seconds: float = 0.5
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    gradient_clip: float = 1.0
    confusion_weight: float = 1e-2
    note_weight: float = 0.0
    pitch_shift_probability: float = 0.5
    history_noise: float = 0.0
    history_fade_probability: float = 0.0
    latent_dropout: float = 0.1
    warmup_samples: int = 512
    average_decay: float = 0.999
    steps: int = 10000
    checkpoint_steps: int = 100
    bfloat16: bool = True
    seed: int = 1


@dataclass(frozen=True)
class Settings:
    name: str
    model: ModelConfig
    corpus: CorpusSettings
    train: TrainSettings

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read a TOML file; raises ValueError or TypeError naming a field that is unknown or missing."""
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        model = dict(table["model"])
        config = PRESETS[model.pop("preset")]
        config = replace(
            config,
            encoder=replace(config.encoder, **model.pop("encoder", {})),
            decoder=replace(config.decoder, **model.pop("decoder", {})),
            **model,
        )
        corpus = dict(table["corpus"])
        corpus["score_domains"] = tuple(corpus["score_domains"])
        train = dict(table["train"])
        return cls(path.stem, config, CorpusSettings(**corpus), TrainSettings(**train))
