"""What a step of training is made of: every random choice is a function of (seed, step, segment) alone.

So a run that goes on from a checkpoint takes the very steps that it would have taken, a prefetching process needs no
state, and two processes with half a batch each see what one sees with the whole.
Shapes: B segments for the decoder, L more for the confusion loss only, C samples of context at 16 kHz and T after them,
N hops of 10 ms.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch

from training.augment import (
    LARGEST_SEMITONES,
    LONGEST_S,
    SHORTEST_S,
    add_background,
    fade_somewhere,
    ring_somewhere,
    shift_pitch_in_stretches,
)
from training.dataset import Corpus
from training.settings import Settings

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
RATE_HZ = 16000
SHORTEST_STRETCH, LONGEST_STRETCH = 64, 512  # samples
PREFETCHED = 3  # steps that each worker is ahead


@dataclass(frozen=True)
class Prepared:
    """source: what the encoder hears, [B + L, C + T] float32, in tune still; shifts [B + L, 3]: first sample, length
    (0: none) and semitones of the stretch that is to be out of tune; target, history: what the decoder must say, and
    the past that it is taught with, [B, T]; timbre [B + L] and notes [B + L, N] int64; noise_level, noise_seed and kept
    [B]: standard deviation and seed of the noise on the history, and 0 where the latent is dropped."""

    domain: str
    source: np.ndarray
    shifts: np.ndarray
    target: np.ndarray
    history: np.ndarray
    timbre: np.ndarray
    notes: np.ndarray
    noise_level: np.ndarray
    noise_seed: np.ndarray
    kept: np.ndarray


def domain_of_step(shares: Mapping[str, float], step: int) -> str:
    """Whose turn it is: multiples of the golden ratio, modulo 1, fall into the shares as evenly as can be."""
    at = (step * GOLDEN) % 1.0 * sum(shares.values())
    for name, share in shares.items():
        at -= share
        if at < 0.0:
            return name
    return next(reversed(shares))


def prepare(settings: Settings, corpus: Corpus, step: int, rank: int = 0) -> Prepared:
    """The segments of a step in one of the processes: those of all together are numbered rank after rank."""
    s = settings.train
    hop = settings.model.encoder.hop_samples
    samples = round(s.segment_seconds * settings.model.sample_rate_hz) // hop * hop
    context = settings.model.encoder.context_samples
    domain = domain_of_step(s.domains, step)
    source, shifts, target, history, timbre, notes = [], [], [], [], [], []
    level, seed, kept = np.zeros(s.batch, np.float32), np.zeros(s.batch, np.int64), np.ones(s.batch, np.float32)
    for i in range(s.batch):
        rng = np.random.default_rng([s.seed, step, rank * s.batch + i])
        batch = corpus.draw(rng, domain, s.timbre_lags_ms, s.timbre_probability, 1, samples, context=context)
        clean = batch.target[0].astype(np.float32)
        source.append(add_background(batch.source[0], rng, s.source_noise))
        shifts.append(draw_shift(rng, context + samples, s.pitch_shift_probability))
        target.append(clean)
        history.append(spoilt(clean, rng, s.history_fade_probability, s.history_ringing_probability))
        timbre.append(batch.timbre[0])
        notes.append(batch.notes[0])
        level[i] = draw_level(rng, s.history_noise_least, s.history_noise)
        seed[i] = rng.integers(2**62)
        kept[i] = rng.random() >= s.latent_dropout
    for i in range(s.listen_batch):
        rng = np.random.default_rng([s.seed, step, rank * s.listen_batch + i, 1])
        name = s.listen[int(rng.integers(len(s.listen)))]
        batch = corpus.draw(rng, name, s.timbre_lags_ms, 0.0, 1, samples, context=context)
        source.append(add_background(batch.source[0], rng, s.source_noise))
        shifts.append(draw_shift(rng, context + samples, s.pitch_shift_probability))
        timbre.append(batch.timbre[0])
        notes.append(batch.notes[0])
    return Prepared(
        domain,
        np.stack(source),
        np.stack(shifts),
        np.stack(target),
        np.stack(history),
        np.array(timbre, dtype=np.int64),
        np.stack(notes),
        level,
        seed,
        kept,
    )


def spoilt(clean: np.ndarray, rng: np.random.Generator, fade: float, ringing: float) -> np.ndarray:
    """The past [T] that a decoder is taught with: with these probabilities a stretch of it is quieter, or rings."""
    past = fade_somewhere(clean, rng) if rng.random() < fade else clean
    return ring_somewhere(past, rng) if ringing and rng.random() < ringing else past


def draw_level(rng: np.random.Generator, least: float, most: float) -> float:
    """A level between the two: each ratio as likely, or each difference if the least is 0. 0 if both are."""
    if most == 0.0:
        return 0.0
    return least * (most / least) ** rng.random() if least > 0.0 else most * rng.random()


def draw_shift(rng: np.random.Generator, samples: int, probability: float) -> np.ndarray:
    """First sample, length and semitones of a stretch of 0.25 to 0.5 s, float32 [3]; length 0 with the rest of the
    probability."""
    length = min(samples, int(rng.uniform(SHORTEST_S, LONGEST_S) * RATE_HZ))
    start = int(rng.integers(samples - length + 1))
    semitones = rng.uniform(-LARGEST_SEMITONES, LARGEST_SEMITONES)
    return np.array([start, length if rng.random() < probability else 0, semitones], dtype=np.float32)


def out_of_tune(source: torch.Tensor, shifts: np.ndarray) -> torch.Tensor:
    """source [B + L, C + T] with its stretches shifted, on the device where it is: no process does it ahead of time."""
    rows = torch.from_numpy(np.flatnonzero(shifts[:, 1] > 0)).to(source.device)
    if len(rows) == 0:
        return source
    start, length, semitones = torch.from_numpy(shifts).to(source.device)[rows].unbind(dim=1)
    shifted = shift_pitch_in_stretches(source[rows], start.long(), length.long(), semitones)
    return source.index_copy(0, rows, shifted)


def noise(batch: Prepared, device: torch.device) -> torch.Tensor:
    """The noise on the history of each segment, [B, T]: the same for a segment whichever process has it."""
    out = torch.zeros(batch.target.shape, device=device)
    generator = torch.Generator(device=device)
    for row, level, seed in zip(out, batch.noise_level, batch.noise_seed, strict=True):
        if level > 0.0:
            generator.manual_seed(int(seed))
            row.normal_(generator=generator).mul_(float(level))
    return out


def own_history(batch: Prepared, most: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
    """What a `training.network.History` has as `own`; each segment has a share of its own, up to `most`."""
    if most == 0.0:
        return None
    uniform, chosen = torch.empty(2, *batch.target.shape, device=device)
    generator = torch.Generator(device=device)
    for numbers, where, seed in zip(uniform, chosen, batch.noise_seed, strict=True):
        generator.manual_seed(int(seed) + 1)
        share = most * torch.rand((), generator=generator, device=device)
        numbers.uniform_(generator=generator)
        where.copy_(torch.rand(where.shape, generator=generator, device=device) < share)
    return uniform, chosen.bool()


def own_stretches(batch: Prepared, most: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
    """What a `training.network.History` has as `alone`: stretches of any length between two limits, each ratio
    as likely, up to a share of each segment between 0 and `most`."""
    if most == 0.0:
        return None
    samples = batch.target.shape[1]
    uniform, own = np.empty(batch.target.shape, np.float32), np.zeros(batch.target.shape, bool)
    for numbers, where, seed in zip(uniform, own, batch.noise_seed, strict=True):
        rng = np.random.default_rng([int(seed), 2])
        numbers[:] = rng.random(samples, dtype=np.float32)
        wanted = most * rng.random() * samples
        while where.sum() < wanted:
            length = int(SHORTEST_STRETCH * (LONGEST_STRETCH / SHORTEST_STRETCH) ** rng.random())
            start = int(rng.integers(1 - length, samples))
            where[max(0, start) : start + length] = True
    return torch.from_numpy(uniform).to(device), torch.from_numpy(own).to(device)


_corpus: Corpus | None = None
_settings: Settings | None = None


def _open(settings: Settings) -> None:
    global _corpus, _settings
    torch.set_num_threads(1)
    _settings = settings
    _corpus = Corpus(settings.corpus.folder, "train", list(settings.train.timbre_lags_ms))


def _prepare(step: int, rank: int) -> Prepared:
    assert _settings is not None and _corpus is not None
    return prepare(_settings, _corpus, step, rank)


def prefetch(settings: Settings, corpus: Corpus, step: int, rank: int = 0) -> Generator[Prepared, None, None]:
    """The batches from a step on, without end, prepared by `workers` processes ahead of time (0: here, when asked)."""
    workers = settings.train.workers
    if workers == 0:
        while True:
            yield prepare(settings, corpus, step, rank)
            step += 1
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_open, initargs=(settings,))
    pending: list[Future[Prepared]] = []
    try:
        while True:
            while len(pending) < workers * PREFETCHED:
                pending.append(pool.submit(_prepare, step, rank))
                step += 1
            yield pending.pop(0).result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
