"""Held-out loss of a decoder beside what it has to beat, and the pitch of its translations of melodies and recordings.

Losses are PyTorch's, in fp32; translations are made by the product's own pipeline.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.progress import track as progress_track

from rtserver import pipeline, pitch
from rtserver.model_config import ModelConfig
from rtserver.model_file import Model
from training.corpus.catalogue import DATA
from training.dataset import Batch, Corpus
from training.evaluate.material import level
from training.evaluate.playing import Player
from training.network import TranslationNetwork, network_of
from training.settings import Settings

RATE_HZ = 16000
LOG = Console(stderr=True)  # standard output is for the figures


def untrained(config: ModelConfig, decoders: list[str]) -> TranslationNetwork:
    """The same fresh weights every time: what training is compared with."""
    torch.manual_seed(0)
    return TranslationNetwork(config, decoders, timbres=1).eval()


def held_out_batches(settings: Settings, decoder: str, split: str, batches: int) -> Iterator[tuple[Batch, Batch]]:
    """The same segments every time: with sources in the decoder's own timbre, and others with sources in any."""
    train = settings.train
    corpus = Corpus(settings.corpus.folder, split, list(train.timbre_lags_ms))
    rng = np.random.default_rng(7)
    samples, context = round(train.segment_seconds * RATE_HZ), settings.model.encoder.context_samples
    for _ in range(batches):
        yield tuple(  # type: ignore[misc]
            corpus.draw(rng, decoder, train.timbre_lags_ms, other, train.batch, samples, context=context)
            for other in (0.0, 1.0)
        )


@torch.no_grad()
def held_out_losses(model: Model, settings: Settings, decoder: str, split: str, batches: int) -> dict[str, float]:
    """Mean cross-entropy in nats of the next code, on segments of a split that training never saw.

    `other_timbre`: the encoder hears the passage in another instrument; `other_latent`: latents of another segment;
    `no_latent`: zeros, which the decoder was trained with too (latent dropout); `histogram`: entropy against the
    frequencies of codes in the training split.
    """
    train = settings.train
    trained, fresh = network_of(model), untrained(model.config, list(model.decoders))
    frequencies = _code_frequencies(trained, Corpus(settings.corpus.folder, "train", [decoder]), decoder)
    sums: dict[str, list[float]] = {}
    for own, other in held_out_batches(settings, decoder, split, batches):
        target = torch.from_numpy(own.target)
        context = model.config.encoder.context_samples
        latents = trained.encode(torch.from_numpy(own.source), context)
        theirs = trained.encode(torch.from_numpy(other.source), context)
        unheard = fresh.encode(torch.from_numpy(own.source), context)

        def loss(latents: torch.Tensor, of: torch.Tensor = target, by: TranslationNetwork = trained) -> float:
            return float(by.reconstruction(decoder, latents, of, warmup_samples=train.warmup_samples).mean())

        codes = trained.codes(target)[:, train.warmup_samples :]
        row = {
            "model": loss(latents),
            "other_timbre": loss(theirs, torch.from_numpy(other.target)),
            "no_latent": loss(torch.zeros_like(latents)),
            "other_latent": loss(latents.roll(1, dims=0)),
            "untrained": loss(unheard, by=fresh),
            "histogram": float(-torch.from_numpy(np.log(frequencies))[codes].mean()),
        }
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
    return {name: round(float(np.mean(values)), 4) for name, values in sums.items()}


def _code_frequencies(network: TranslationNetwork, corpus: Corpus, instrument: str) -> np.ndarray:
    counts = np.ones(256)
    for reel in corpus.reels_of(instrument):
        audio = corpus.cut(instrument, reel, 0, 60 * RATE_HZ)
        counts += np.bincount(network.codes(torch.from_numpy(audio)).numpy(), minlength=256)
    return counts / counts.sum()


def clips(settings: Settings, split: str, seconds: float) -> dict[str, np.ndarray]:
    """What is translated: one passage of the split in every timbre, and every recording, at 16 kHz."""
    out: dict[str, np.ndarray] = {}
    if settings.corpus.folder.exists():
        corpus = Corpus(settings.corpus.folder, split, list(settings.train.timbre_lags_ms))
        for name in corpus.instruments:
            out[f"melody/{name}"] = corpus.cut(name, 0, 30 * RATE_HZ, round(seconds * RATE_HZ))
    return out | recordings(seconds)


def recordings(seconds: float) -> dict[str, np.ndarray]:
    """The beginnings of the recordings in `training/data/recordings`, float32 [N] at 16 kHz by `recording/NAME`."""
    out = {}
    with open(DATA / "recordings" / "manifest.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            audio, rate_hz = soundfile.read(DATA / "recordings" / row["path"], dtype="float32")
            if rate_hz != RATE_HZ:
                raise ValueError(f"{row['path']}: expected {RATE_HZ} Hz, found {rate_hz}")
            out[f"recording/{Path(row['path']).stem}"] = audio[: round(seconds * RATE_HZ)]
    return out


def pitch_of_translations(
    model: Model,
    decoder: str,
    inputs: dict[str, np.ndarray],
    seed: int,
    temperature: float,
    out: Path | None,
    player: Player | None = None,
) -> dict[str, dict[str, float]]:
    """Translate every clip and compare its pitch with the input's; leaves the wavs in `out` if given.

    player: plays instead, so that what it has played already isn't played again.
    """
    rows = {}
    for name, audio in progress_track(inputs.items(), description=f"translating to {decoder}", console=LOG):
        heard = level(audio)
        if player is not None:
            played = player.play(heard)
        else:
            played = pipeline.translate(model, heard, RATE_HZ, decoder, seed, temperature)
        agreement = pitch.agreement(pitch.track(audio, RATE_HZ), pitch.track(played, RATE_HZ))
        rows[name] = {k: round(float(v), 4) for k, v in asdict(agreement).items()}
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            soundfile.write(out / f"{name.replace('/', '_')}_to_{decoder}.wav", played, RATE_HZ)
            soundfile.write(out / f"{name.replace('/', '_')}.wav", heard, RATE_HZ)
    return rows
