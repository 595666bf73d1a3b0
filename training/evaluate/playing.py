"""Translations by the shipped engine, kept beside the corpus: the same input, pack and settings are played once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rtserver.model_file import Model
from rtserver.pipeline import Translator

RATE_HZ = 16000
VERSION = 1  # raise when the same settings give other samples
LOG = Console(stderr=True)


class Player:
    """One pack's decoder, as `rtserver translate` plays it. folder: where translations are kept, if at all."""

    def __init__(
        self,
        model: Model,
        decoder: str,
        seed: int = 0,
        temperature: float = 1.0,
        precision: str = "auto",
        folder: Path | None = None,
    ) -> None:
        self.model, self.decoder, self.seed, self.temperature = model, decoder, seed, temperature
        self.folder = folder
        self.translator = Translator(model, precision=precision)
        self.precision = self.translator.precision

    def play(self, audio: np.ndarray) -> np.ndarray:
        """float32 [N] at 16 kHz in and out."""
        path = self._path(audio)
        if path is not None and path.exists():
            return np.load(path).astype(np.float32) / 32767.0
        stream = self.translator.open(RATE_HZ, decoder=self.decoder, seed=self.seed, temperature=self.temperature)
        played = np.concatenate([stream.push(audio), stream.finish()])
        samples = np.rint(np.clip(played, -1.0, 1.0) * 32767.0).astype(np.int16)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            with open(partial, "wb") as file:
                np.save(file, samples)
            partial.rename(path)
        return samples.astype(np.float32) / 32767.0

    def play_all(self, audio: Sequence[np.ndarray], title: str) -> list[np.ndarray]:
        """Every signal in turn, with a progress bar on standard error."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        out = []
        with Progress(*columns, TimeRemainingColumn(), console=LOG) as bar:
            line = bar.add_task(title, total=len(audio))
            for one in audio:
                out.append(self.play(one))
                bar.advance(line)
        return out

    def _path(self, audio: np.ndarray) -> Path | None:
        if self.folder is None:
            return None
        settings = [VERSION, self.model.sha256, self.decoder, self.seed, self.temperature, self.precision]
        digest = hashlib.sha256(json.dumps(settings).encode() + np.ascontiguousarray(audio).tobytes()).hexdigest()
        return self.folder / f"{digest[:24]}.npy"
