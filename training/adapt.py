"""Teach one decoder a new instrument while the encoder stays as it is, and stop when held-out audio says so.

Shapes: B segments, C samples of context at 16 kHz (`EncoderConfig.context_samples`) and T after them, L latent
channels, H hops.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor, nn

from training import checkpoint
from training.augment import add_background
from training.batches import Prepared, draw_level, draw_shift, noise, out_of_tune, own_history, spoilt
from training.network import History, TranslationNetwork

RATE_HZ = 16000
LEAST_GAIN_DB = -12.0  # segments are played by up to so much softer, as in the corpus
TRANSPOSED_BY = (-12, -7, -4, -2, 2, 4, 7, 12)  # semitones
AUDIBLE = 0.01  # peak of a segment that is worth learning from, where full scale is 1


@dataclass(frozen=True)
class Recipe:
    """How an instrument is added; the names are those of `TrainSettings`. minutes or steps, whichever ends first."""

    minutes: float = 20.0
    steps: int = 1_000_000
    batch: int = 3
    segment_seconds: float = 0.5
    learning_rate: float = 1e-3
    final_learning_rate: float = 5e-5
    gradient_clip: float = 1.0
    transpose_probability: float = 0.5
    pitch_shift_probability: float = 0.5
    source_noise: float = 0.01
    history_noise: float = 0.05
    history_noise_least: float = 0.002
    history_fade_probability: float = 0.4
    history_ringing_probability: float = 0.3
    own_history: float = 0.9
    latent_dropout: float = 0.05
    warmup_samples: int = 512
    average_decay: float = 0.99
    checks: int = 25  # of the held-out audio, in the whole time
    patience: int = 5  # checks without an improvement that end it
    bfloat16: bool = True
    seed: int = 1


@dataclass(frozen=True)
class Report:
    """After a step: how much of the time is over, and the losses, in nats."""

    step: int
    share: float
    loss: float
    held_out: float | None
    best: float


def segments(audio: np.ndarray, samples: int, count: int, seed: int, context: int = 0) -> np.ndarray:
    """[count, context + samples] float32: stretches of audio [N] that sound, the same every time, and what came before.

    ValueError if the audio is shorter than one.
    """
    if len(audio) < context + samples:
        needed = (context + samples) / RATE_HZ
        raise ValueError(f"expected at least {needed} s of audio, found {len(audio) / RATE_HZ:.2f} s")
    rng = np.random.default_rng(seed)
    return np.stack([_sounding(audio, samples, rng, context) for _ in range(count)])


def _sounding(audio: np.ndarray, samples: int, rng: np.random.Generator, context: int) -> np.ndarray:
    for _ in range(20):
        at = int(rng.integers(len(audio) - samples - context + 1))
        piece = audio[at : at + context + samples]
        if np.abs(piece[context:]).max() >= AUDIBLE:
            break
    return piece


@torch.no_grad()
def cross_entropy(network: TranslationNetwork, decoder: str, pieces: np.ndarray, warmup: int, batch: int = 8) -> float:
    """Mean teacher-forced loss, in nats, of a decoder on segments [B, C + T] that the encoder hears as they are."""
    losses, context = [], network.config.encoder.context_samples
    for at in range(0, len(pieces), batch):
        audio = torch.from_numpy(pieces[at : at + batch])
        latents, target = network.encode(audio, context), audio[:, context:]
        losses.append(network.reconstruction(decoder, latents, target, warmup_samples=warmup).mean(dim=1))
    return float(torch.cat(losses).mean())


class Adaptation:
    """One decoder that learns `audio` [N], beginning as another one; the encoder's weights never change."""

    def __init__(self, network: TranslationNetwork, name: str, audio: np.ndarray, held_out: np.ndarray, recipe: Recipe):
        """held_out: segments [B, C + T], which are listened to only."""
        self.network, self.name, self.audio, self.held_out, self.recipe = network, name, audio, held_out, recipe
        self.decoder: nn.Module = network.decoders[name]
        self.context = network.config.encoder.context_samples
        network.requires_grad_(False)
        self.decoder.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99))
        self.average = {k: v.detach().clone() for k, v in self.decoder.state_dict().items()}
        self.best = {k: v.clone() for k, v in self.average.items()}
        self.first_loss = self.best_loss = self.check(self.average)
        self.step, self.spent_s, self.checked, self.worse = 0, 0.0, 0, 0
        self.recent_s: deque[float] = deque(maxlen=20)

    @property
    def share(self) -> float:
        """How much of the minutes or of the steps is over, 0 to 1."""
        spent = self.spent_s / (60.0 * self.recipe.minutes) if self.recipe.minutes > 0 else 1.0
        return min(1.0, max(spent, self.step / self.recipe.steps))

    @property
    def over(self) -> bool:
        return self.share >= 1.0 or self.worse >= self.recipe.patience

    def check(self, weights: dict[str, Tensor]) -> float:
        """The held-out loss of some weights of the decoder, which keeps its own."""
        mine = {k: v.detach().clone() for k, v in self.decoder.state_dict().items()}
        self.decoder.load_state_dict(weights)
        loss = cross_entropy(self.network, self.name, self.held_out, self.recipe.warmup_samples)
        self.decoder.load_state_dict(mine)
        return loss

    def _draw(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """A stretch [C + T] of the recordings, now and then played faster or slower: minutes of an instrument have few
        of its notes, and people will sing the others."""
        if rng.random() >= self.recipe.transpose_probability:
            return _sounding(self.audio, samples, rng, self.context)
        faster = 2.0 ** (TRANSPOSED_BY[int(rng.integers(len(TRANSPOSED_BY)))] / 12.0)
        before, after = math.ceil(self.context * faster), math.ceil(samples * faster) + 1
        if len(self.audio) < before + after:
            return _sounding(self.audio, samples, rng, self.context)
        piece = _sounding(self.audio, after, rng, before)
        played = soxr.resample(piece, faster * RATE_HZ, RATE_HZ)
        return np.asarray(played[-self.context - samples :], dtype=np.float32)

    def prepare(self) -> Prepared:
        """The segments of the next step, as `training.batches.prepare` makes them of a corpus."""
        r = self.recipe
        rng = np.random.default_rng([r.seed, self.step])
        samples = round(r.segment_seconds * RATE_HZ)
        source, shifts, history, target = [], [], [], []
        for _ in range(r.batch):
            gain = np.float32(10.0 ** (rng.uniform(LEAST_GAIN_DB, 0.0) / 20.0))
            whole = self._draw(samples, rng) * gain
            source.append(add_background(whole, rng, r.source_noise))
            shifts.append(draw_shift(rng, self.context + samples, r.pitch_shift_probability))
            target.append(whole[self.context :])
            history.append(spoilt(target[-1], rng, r.history_fade_probability, r.history_ringing_probability))
        return Prepared(
            domain=self.name,
            source=np.stack(source),
            shifts=np.stack(shifts),
            target=np.stack(target),
            history=np.stack(history),
            timbre=np.zeros(r.batch, np.int64),
            notes=np.full((r.batch, 1), -1, np.int64),
            noise_level=np.array([draw_level(rng, r.history_noise_least, r.history_noise) for _ in range(r.batch)]),
            noise_seed=rng.integers(2**62, size=r.batch),
            kept=(rng.random(r.batch) >= r.latent_dropout).astype(np.float32),
        )

    def train_step(self) -> Report:
        began, r = time.monotonic(), self.recipe
        batch, here = self.prepare(), torch.device("cpu")
        source, target, past, kept = (
            torch.from_numpy(x) for x in (batch.source, batch.target, batch.history, batch.kept)
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=r.bfloat16):
            with torch.no_grad():
                latents = self.network.encode(out_of_tune(source, batch.shifts), self.context) * kept[:, None, None]
            led_by = History(past, noise=noise(batch, here), own=own_history(batch, r.own_history, here))
            loss = self.network.reconstruction(self.name, latents, target, led_by, r.warmup_samples).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), r.gradient_clip)
        cosine = 0.5 * (1.0 + math.cos(math.pi * self.share))
        for group in self.optimizer.param_groups:
            rate = r.final_learning_rate + (r.learning_rate - r.final_learning_rate) * cosine
            group["lr"] = min(1.0, (self.step + 1) / 20) * rate
        self.optimizer.step()
        self.step += 1
        values = self.decoder.state_dict()
        decay = min(r.average_decay, self.step / (self.step + 10))
        torch._foreach_lerp_([self.average[n] for n in values], list(values.values()), 1.0 - decay)
        self._spend(time.monotonic() - began)
        held_out = self._check_now()
        return Report(self.step, self.share, float(loss.detach()), held_out, self.best_loss)

    def _spend(self, seconds: float) -> None:
        """Count a step's time; at most five usual steps of it, so that a machine that slept loses nothing."""
        self.recent_s.append(seconds)
        self.spent_s += min(seconds, 5.0 * float(np.median(self.recent_s)))

    def _check_now(self) -> float | None:
        if self.share * self.recipe.checks < self.checked + 1:
            return None
        before = time.monotonic()
        self.checked = int(self.share * self.recipe.checks)
        loss = self.check(self.average)
        if loss < self.best_loss:
            self.best_loss, self.worse = loss, 0
            self.best = {k: v.clone() for k, v in self.average.items()}
        else:
            self.worse += 1
        self.spent_s += time.monotonic() - before
        return loss

    # --- going on -------------------------------------------------------------------------------------------------

    def save(self, path: Path, fingerprint: str) -> None:
        names = ("average", "best", "first_loss", "best_loss", "step", "spent_s", "checked", "worse")
        state: dict[str, Any] = {name: getattr(self, name) for name in names}
        state |= {"network": self.decoder.state_dict(), "optimizer": self.optimizer.state_dict()}
        checkpoint.write(path, {**state, "fingerprint": fingerprint, "recipe": asdict(self.recipe)})

    def load(self, path: Path, fingerprint: str) -> None:
        """Go on from what `save` left. ValueError if that was of other audio or another base."""
        state = checkpoint.read(path)
        if state.get("fingerprint") != fingerprint:
            raise ValueError(f"{path}: of other recordings or another base; remove it, or choose another output")
        self.decoder.load_state_dict(state.pop("network"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        for name in ("average", "best", "first_loss", "best_loss", "step", "spent_s", "checked", "worse"):
            setattr(self, name, state[name])


def adapt(
    adaptation: Adaptation,
    told: Callable[[Report], None],
    stop: Callable[[], bool],
    saved: Callable[[], None],
    checkpoint_seconds: float = 60.0,
) -> bool:
    """Take steps until it is over, or `stop` says so; gives whether it is over. `saved` is called now and then."""
    last = time.monotonic()
    while not adaptation.over:
        if stop():
            saved()
            return False
        told(adaptation.train_step())
        if time.monotonic() - last > checkpoint_seconds:
            saved()
            last = time.monotonic()
    saved()
    return True
