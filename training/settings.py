"""A training configuration, as written in `training/configs/*.toml`: one file a run, checked before anything starts."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from rtserver.model_config import PRESETS, ModelConfig
from training.corpus.settings import CorpusSettings

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class TrainSettings:
    """How it is trained. Names follow Mor et al. 2018 where the paper has one; the others are explained in
    docs/training.md."""

    domains: dict[str, float]  # decoder name -> share of the steps
    timbre_lags_ms: dict[str, float]  # instruments that the encoder hears -> how late they speak (see Corpus.draw)
    timbre_probability: float = 0.5  # how often the encoder hears the same passage in another timbre
    listen: tuple[str, ...] = ()  # instruments without a decoder: in the confusion loss only
    listen_batch: int = 0  # segments of these that each step hears besides
    encoder: str = "train"  # or "frozen": only the decoders of `domains` learn
    start: str = ""  # pack or checkpoint whose weights a new run begins with; smaller decoders grow
    start_decoders: dict[str, str] | None = None  # new decoder -> the one of `start` that it begins as
    batch: int = 8  # segments a step, of each process
    segment_seconds: float = 0.5
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    learning_rate_warmup_steps: int = 100
    classifier_learning_rate: float = 1e-3
    gradient_clip: float = 1.0
    confusion_weight: float = 1e-2
    confusion_from_step: int = 0  # the weight rises linearly from here on ...
    confusion_warmup_steps: int = 0  # ... over so many steps
    note_weight: float = 0.0
    pitch_shift_probability: float = 0.5
    source_noise: float = 0.0  # standard deviation of the loudest background that the encoder hears, of full scale
    history_noise: float = 0.0  # standard deviation of the loudest noise on the past, as the network sees it
    history_noise_least: float = 0.0  # of the faintest: then every ratio is as likely; with 0, every level
    history_fade_probability: float = 0.0
    history_ringing_probability: float = 0.0
    own_history: float = 0.0  # greatest share of the past, a segment, that the decoder says itself (see network.py)
    own_history_passes: int = 1  # from pass to pass it is led by more of what it said
    own_history_temperature: float = 1.0  # at which it says it: that at which it is to be played
    own_stretches: float = 0.0  # greatest share of the past, a segment, it says playing alone, 4 to 32 ms at a time
    teacher: str = ""  # pack or checkpoint whose decoders say what is wanted, in place of the corpus
    teacher_guidance: dict[str, float] = field(default_factory=dict)  # decoder -> strength (network.py)
    latent_dropout: float = 0.1
    warmup_samples: int = 512
    average_decay: float = 0.999
    steps: int = 10000
    checkpoint_steps: int = 100
    checkpoint_minutes: float = 10.0  # whichever comes first
    example_steps: int = 500  # between audio examples for TensorBoard
    bfloat16: bool = True
    compile: bool = False
    workers: int = 0  # processes that prepare segments; 0: between the steps
    seed: int = 1

    def __post_init__(self) -> None:
        positive = ("batch", "segment_seconds", "learning_rate", "gradient_clip", "steps", "checkpoint_steps")
        for name in (*positive, "checkpoint_minutes", "example_steps", "classifier_learning_rate"):
            self._require(name, getattr(self, name) > 0, "more than 0")
        shares = ("timbre_probability", "pitch_shift_probability", "history_fade_probability", "latent_dropout")
        shares += ("history_ringing_probability", "own_history", "own_stretches")
        for name in shares:
            self._require(name, 0.0 <= getattr(self, name) <= 1.0, "between 0 and 1")
        self._require("own_history_passes", self.own_history_passes >= 1, "1 or more")
        self._require("own_history_temperature", self.own_history_temperature > 0.0, "more than 0")
        for name in ("confusion_weight", "confusion_from_step", "confusion_warmup_steps", "note_weight", "workers"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in (
            "source_noise",
            "history_noise",
            "history_noise_least",
            "warmup_samples",
            "listen_batch",
            "learning_rate_warmup_steps",
        ):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        most = self.history_noise
        self._require("history_noise_least", self.history_noise_least <= most, f"history_noise ({most}) at most")
        self._require("average_decay", 0.0 <= self.average_decay < 1.0, "at least 0 and less than 1")
        self._require("encoder", self.encoder in ("train", "frozen"), '"train" or "frozen"')
        self._require("domains", bool(self.domains), "at least one decoder")
        for name, share in self.domains.items():
            self._require(f"domains.{name}", share > 0, "more than 0")
            self._require("timbre_lags_ms", name in self.timbre_lags_ms, f"an entry for the domain {name}")
        for name in self.listen:
            self._require("listen", name in self.timbre_lags_ms, f"instruments of timbre_lags_ms, not {name!r}")
        if bool(self.listen) != bool(self.listen_batch):
            raise ValueError("listen and listen_batch: expected both or neither")
        if self.encoder == "frozen":
            self._require("start", bool(self.start), "a pack or checkpoint, because the encoder is frozen")
        for name, guidance in self.teacher_guidance.items():
            self._require("teacher_guidance", bool(self.teacher), "none without a teacher")
            self._require("teacher_guidance", name in self.domains, f"decoders of domains, not {name!r}")
            self._require(f"teacher_guidance.{name}", guidance >= 0, "0 or more")
        if self.teacher:
            self._require("encoder", self.encoder == "frozen", '"frozen", so that the teacher understands it')
        if self.warmup_samples >= round(self.segment_seconds * 16000):
            raise ValueError(f"warmup_samples: expected fewer than a segment has, found {self.warmup_samples}")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name}: expected {expected}, found {getattr(self, name.partition('.')[0])!r}")


@dataclass(frozen=True)
class Settings:
    name: str
    model: ModelConfig
    corpus: CorpusSettings
    train: TrainSettings

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read and check a TOML file. ValueError or TypeError say which field of which file is wrong, and how."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from None
        corpus = CorpusSettings.read(path)
        for name in ("model", "train"):
            if not isinstance(table.get(name), dict):
                raise ValueError(f"{path}: [{name}] is missing")
        if unknown := set(table) - {"model", "corpus", "train"}:
            raise TypeError(f"{path}: unknown table [{min(unknown)}]; there are [model], [corpus] and [train]")
        train = _record(TrainSettings, table["train"], f"{path}: train.")
        for name in train.timbre_lags_ms:
            if name not in corpus.instruments:
                raise ValueError(f"{path}: train.timbre_lags_ms: {name} is not one of corpus.instruments")
        return cls(path.stem, _model(dict(table["model"]), path), corpus, train)


def _model(table: dict[str, Any], path: Path) -> ModelConfig:
    preset = table.pop("preset", None)
    if preset not in PRESETS:
        raise ValueError(f"{path}: model.preset: expected one of {', '.join(PRESETS)}, found {preset!r}")
    config = PRESETS[preset]
    parts = {}
    for name in ("encoder", "decoder"):
        given = table.pop(name, {})
        for key, value in given.items():
            kind = type(getattr(getattr(config, name), key, None))
            if kind is type(None):
                raise TypeError(f"{path}: model.{name}.{key}: unknown field")
            if type(value) is not kind or (kind is int and value <= 0):
                raise TypeError(f"{path}: model.{name}.{key}: expected {KINDS[kind]} above 0, found {value!r}")
        parts[name] = replace(getattr(config, name), **given)
    for key, value in table.items():
        if key not in ("mu_law", "sample_rate_hz", "emphasis"):
            raise TypeError(f"{path}: model.{key}: unknown field")
        if key == "emphasis" and not (isinstance(value, float) and 0.0 <= value <= 0.95):
            raise ValueError(f"{path}: model.emphasis: expected a number of 0 to 0.95, found {value!r}")
    return replace(config, **parts, **table)


def _record(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
    """A dataclass of a TOML table; TypeError or ValueError name the field, after `where`."""
    hints, known, values = get_type_hints(kind), {f.name: f for f in fields(kind)}, {}
    for name, value in table.items():
        if name not in known:
            raise TypeError(f"{where}{name}: unknown field; there are {', '.join(known)}")
        values[name] = _value(value, hints[name], f"{where}{name}")
    for name, entry in known.items():
        if name not in values and entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{where}{name}: missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None


def _value(value: Any, hint: Any, where: str) -> Any:
    if hint in KINDS:
        fits = isinstance(value, (int, float)) if hint is float else isinstance(value, hint)
        if not fits or (isinstance(value, bool) and hint is not bool):
            raise TypeError(f"{where}: expected {KINDS[hint]}, found {value!r}")
        if hint is float and not math.isfinite(value):
            raise ValueError(f"{where}: expected a finite number, found {value!r}")
        return hint(value)
    text = str(hint)
    if "tuple[str" in text:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise TypeError(f"{where}: expected a list of texts, found {value!r}")
        return tuple(value)
    if "dict[str" in text:
        if not isinstance(value, dict):
            raise TypeError(f"{where}: expected a table, found {value!r}")
        inner = float if "float" in text else int if "int]" in text else str
        return {k: _value(v, inner, f"{where}.{k}") for k, v in value.items()}
    return value
