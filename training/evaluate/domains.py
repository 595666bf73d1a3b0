"""Does it sound like its target? A classifier of domains that knows nothing of the translation network.

A small convolutional network on log-mel spectrograms of 2 s, trained on renderings of training works and validated on
held-out ones (training/evaluate/material.toml). Half of what it learns from went through 8-bit mu-law, so that the
codec's noise decides nothing, and every window is tilted by up to 6 dB, so that equalisation doesn't either. What
hisses louder than it sounds is a class of its own: else noise would have to be one of the instruments.
Shapes: W windows, N samples at 16 kHz, M mel bands, F frames, E values of the embedding, C domains.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track as progress_track
from scipy.signal import get_window, lfilter
from torch import nn

from rtserver.errors import UserError
from training.corpus import storage
from training.dataset import Corpus
from training.evaluate.material import PEAK, RATE_HZ, windows

DOMAINS = ("piano", "harpsichord", "organ", "string_quartet", "choir_orchestra", "orchestra")
NOISE = "noise"  # what a classifier may say besides
LOUDER_DB, FAINT_DB = (-10.0, 0.0), (15.0, 40.0)  # of music above its hiss: no instrument, and an instrument still
WINDOW_S, STEP_S = 2.0, 1.0
FFT_SAMPLES, HOP_SAMPLES, BANDS = 1024, 256, 64
EMBEDDING = 32
STEPS, BATCH = 400, 24
VERSION = 2  # raise when the same corpus gives another classifier
SILENT_RMS = 1e-3  # -60 dB: what sounds like nothing sounds like no domain
FILE = "domain_classifier.pt"
LOG = Console(stderr=True)


def mel_filters() -> np.ndarray:
    """float32 [M, FFT / 2 + 1]: triangles of equal area, equally spaced in mel (2595 log10(1 + f / 700))."""
    edges_mel = np.linspace(2595 * np.log10(1 + 40 / 700), 2595 * np.log10(1 + 7600 / 700), BANDS + 2)
    edges = 700 * (10 ** (edges_mel / 2595) - 1)
    bins = np.arange(FFT_SAMPLES // 2 + 1) * RATE_HZ / FFT_SAMPLES
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles / np.maximum(triangles.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32)


_FILTERS = torch.from_numpy(mel_filters())
_WINDOW = torch.from_numpy(get_window("hann", FFT_SAMPLES).astype(np.float32))


def log_mel(audio: torch.Tensor) -> torch.Tensor:
    """[W, N] -> [W, M, F], natural logarithm, each window at the same loudness whatever its level."""
    audio = audio.float()
    audio = audio / (audio.square().mean(dim=1, keepdim=True).sqrt() + 1e-4)
    spectrum = torch.stft(audio, FFT_SAMPLES, HOP_SAMPLES, window=_WINDOW, center=True, return_complex=True)
    return torch.log(_FILTERS @ spectrum.abs().square() + 1e-2)


class DomainClassifier(nn.Module):
    """Log-mel to logits of the domains and, last, of noise, by way of an embedding."""

    def __init__(self, domains: Sequence[str]) -> None:
        super().__init__()
        self.domains = list(domains)
        self.names = [*domains, NOISE]
        widths = (1, 16, 32, 48)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.embed = nn.Linear(2 * 48 * BANDS // 8, EMBEDDING)
        self.decide = nn.Linear(EMBEDDING, len(self.names))

    def embedding(self, mel: torch.Tensor) -> torch.Tensor:
        """[W, M, F] -> [W, E]: mean and deviation over time of every band's features, in a linear map."""
        features = self.convolutions(mel[:, None] / 4.0)
        over_time = torch.cat([features.mean(dim=3), features.std(dim=3)], dim=1)
        return self.embed(over_time.flatten(1))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return self.decide(torch.relu(self.embedding(mel)))

    @torch.no_grad()
    def embeddings(self, audio: Sequence[np.ndarray]) -> np.ndarray:
        """float64 [W, E] of all windows of some signals."""
        cut = torch.from_numpy(windows(audio, WINDOW_S, STEP_S))
        parts = [self.embedding(log_mel(part)) for part in cut.split(64)] if len(cut) else []
        return torch.cat(parts).double().numpy() if parts else np.zeros((0, EMBEDDING))

    @torch.no_grad()
    def classify(self, audio: np.ndarray) -> str:
        """The domain that a signal of at least 2 s sounds like, its windows together, or `noise`; `silence` if nothing
        sounds."""
        if float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) < SILENT_RMS:
            return "silence"
        cut = torch.from_numpy(windows([audio], WINDOW_S, STEP_S))
        chances = torch.log_softmax(self(log_mel(cut)), dim=1).mean(dim=0)
        return self.names[int(chances.argmax())]


def _through_mu_law(audio: np.ndarray) -> np.ndarray:
    """[N] in 256 steps, as every decoder plays."""
    coded = np.sign(audio) * np.log1p(255.0 * np.abs(audio)) / np.log(256.0)
    coded = np.round((coded + 1.0) * 127.5) / 127.5 - 1.0
    return np.sign(coded) * np.expm1(np.abs(coded) * np.log(256.0)) / 255.0


def _hiss(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise [N] of any colour, between low and high pass of the first order, that comes and goes; of RMS 1."""
    pole = rng.uniform(-0.9, 0.98)
    envelope = np.interp(np.linspace(0.0, 1.0, samples), np.linspace(0.0, 1.0, 12), rng.uniform(0.1, 1.0, 12))
    noise = lfilter([1.0], [1.0, -pole], rng.standard_normal(samples)) * envelope
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _with_hiss(audio: np.ndarray, above_db: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """audio [N] that lies so many dB above its hiss."""
    level = np.sqrt(np.mean(np.square(audio, dtype=np.float64))) * 10.0 ** (-rng.uniform(*above_db) / 20.0)
    return np.asarray(audio + level * _hiss(len(audio), rng))


def _batch(corpus: Corpus, names: Sequence[str], rng: np.random.Generator, size: int) -> tuple[torch.Tensor, ...]:
    """Windows of the domains `names`, and of noise, whose number is that after theirs."""
    n = round(WINDOW_S * RATE_HZ)
    labels = rng.integers(0, len(names) + 1, size)
    cut = []
    while len(cut) < size:
        noisy = int(labels[len(cut)]) == len(names)
        name = names[int(rng.integers(len(names)) if noisy else labels[len(cut)])]
        reel = int(rng.choice(corpus.reels_of(name)))
        audio = corpus.cut(name, reel, int(rng.integers(0, corpus.reels[reel].hops * 160 - n)), n)
        if np.abs(audio).max() < 0.01:
            continue
        if noisy:
            audio = _with_hiss(audio, LOUDER_DB, rng) if rng.random() < 0.5 else 0.1 * _hiss(n, rng)
        elif rng.random() < 0.5:
            audio = _with_hiss(audio, FAINT_DB, rng)
        if rng.random() < 0.5:
            audio = _through_mu_law(audio / np.abs(audio).max() * rng.uniform(0.1, 2 * PEAK))
        cut.append(audio.astype(np.float32))
    mel = log_mel(torch.from_numpy(np.stack(cut)))
    # A random slope and a random bend of up to 6 dB (0.7 in half the natural logarithm of power).
    x = np.linspace(-1.0, 1.0, BANDS)[None]
    tilt = rng.uniform(-1.4, 1.4, (size, 1)) * x + rng.uniform(-0.7, 0.7, (size, 1)) * np.cos(np.pi * x)
    return mel + torch.from_numpy(tilt.astype(np.float32))[:, :, None], torch.from_numpy(labels)


def train(folder: Path, names: Sequence[str], seed: int = 0, steps: int = STEPS) -> DomainClassifier:
    """A classifier of the domains `names`, from split `train`. FileNotFoundError if that isn't rendered."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    corpus = Corpus(folder, "train", list(names))
    network = DomainClassifier(names)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in progress_track(range(steps), description="domain classifier", console=LOG):
        mel, labels = _batch(corpus, names, rng, BATCH)
        loss = nn.functional.cross_entropy(network(mel), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def names_in(folder: Path, target: str) -> list[str]:
    """The domains that there is audio of to learn from. UserError if the target isn't among them, or is alone."""
    try:
        there = Corpus(folder, "train").instruments
    except FileNotFoundError:
        there = []
    names = [name for name in DOMAINS if name in there]
    if target not in names or len(names) < 2:
        raise UserError(
            f"the classifier of domains needs training audio of {target} and of other domains in {folder}, found"
            f" {', '.join(names) or 'none'}: run `python -m training.corpus --config training/evaluate/material.toml`"
        )
    return names


def fingerprint(folder: Path, names: Sequence[str], seed: int, steps: int) -> str:
    """What a classifier depends on: version, settings, and the training audio that is there."""
    audio = [r["sha256"] for r in storage.read_records(folder) if r["split"] == "train" and r["timbre"] in names]
    return hashlib.sha256(json.dumps([VERSION, list(names), seed, steps, audio]).encode()).hexdigest()


def open_classifier(folder: Path, target: str, seed: int = 0, steps: int = STEPS) -> DomainClassifier:
    """The classifier beside the corpus, trained if it isn't there or the corpus has changed (about a minute)."""
    names = names_in(folder, target)
    path, wanted = folder / FILE, fingerprint(folder, names, seed, steps)
    if path.exists():
        kept: dict[str, Any] = torch.load(path, weights_only=True)
        if kept.get("fingerprint") == wanted:
            network = DomainClassifier(names)
            network.load_state_dict(kept["weights"])
            return network.eval()
    network = train(folder, names, seed, steps)
    torch.save({"fingerprint": wanted, "names": names, "weights": network.state_dict()}, path)
    return network
