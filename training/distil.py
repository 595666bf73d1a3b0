"""Teach a new encoder the language of an old one: `python -m training.distil --config TOML --teacher PACK`.

The encoder of a configuration learns to give, whatever instrument plays a passage, the latents that a pack's encoder
gives for the same passage in a clean decoder's own timbre, aligned as in training (`timbre_lags_ms`), and the note that
sounds. Decoders of the pack then understand it from the first step, and so a run that starts from what is written here
needs far fewer of them. Only the encoder computes: behind a filter bank a minute of it hears half an hour of singers.
Shapes: B segments, T samples, H hops, L latent channels.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtserver import model_file
from rtserver.errors import UserError
from rtserver.pipeline import Translator
from training import checkpoint
from training.augment import add_background
from training.batches import draw_shift, out_of_tune
from training.command import configured
from training.dataset import RATE_HZ, Corpus
from training.loop import learning_rate
from training.network import TranslationNetwork
from training.progress import SMOOTHED, bar
from training.settings import Settings
from training.train import RUNS, Stop

GAINS_DB = (0.0, -6.0, -12.0)  # the levels that the teacher is asked about: latents tell of loudness too
SEGMENT_SECONDS = 1.0


class Teacher:
    """Latents of a pack's encoder for whole reels of one instrument, at each of GAINS_DB."""

    def __init__(self, pack: Path, corpus: Corpus, settings: Settings) -> None:
        """The instrument is the first of the configuration's domains. ValueError for a pack of another language."""
        model = model_file.load(pack)
        self.instrument = instrument = next(iter(settings.train.domains))
        self.hop_samples = model.hop_samples
        for name in ("hop_samples", "latent_channels"):
            mine, theirs = getattr(settings.model.encoder, name), getattr(model.config.encoder, name)
            if mine != theirs:
                raise ValueError(f"{pack}: expected an encoder with {name} {mine}, found {theirs}")
        translator = Translator(model)
        self.latents: list[dict[int, np.ndarray]] = []  # [H, L] by reel, for each gain
        for gain_db in GAINS_DB:
            gain = np.float32(10.0 ** (gain_db / 20.0))
            self.latents.append({})
            for reel in corpus.reels_of(instrument):
                audio = gain * corpus.cut(instrument, reel, 0, corpus.reels[reel].hops * 160)
                self.latents[-1][reel] = translator.embed(audio, RATE_HZ)
            print(f"{pack} heard {len(self.latents[-1])} reels of {instrument} at {gain_db:.0f} dB", file=sys.stderr)
        everything = np.concatenate(list(self.latents[0].values()))
        self.spread = torch.from_numpy(everything.std(axis=0) + 1e-3)  # [L]


@dataclass(frozen=True)
class Drawn:
    """Segments in any timbre: source [B, context + T], in tune still; shifts [B, 3] as of `draw_shift`; notes [B, H];
    wanted: what the teacher says of them, [B, L, H]."""

    source: np.ndarray
    shifts: np.ndarray
    notes: np.ndarray
    wanted: np.ndarray


def draw(teacher: Teacher, corpus: Corpus, settings: Settings, batch: int, rng: np.random.Generator) -> Drawn:
    """The segments of a step, from reels that the teacher knows, in timbres as often as in training."""
    s = settings.train
    samples, context = round(SEGMENT_SECONDS * RATE_HZ), settings.model.encoder.context_samples
    sources, notes, wanted, shifts = [], [], [], []
    for _ in range(batch):
        level = int(rng.integers(len(GAINS_DB)))
        gain = GAINS_DB[level]
        piece = corpus.draw(
            rng, teacher.instrument, s.timbre_lags_ms, s.timbre_probability, 1, samples, gain, gain, context=context
        )
        sources.append(add_background(piece.source[0], rng, s.source_noise))
        notes.append(piece.notes[0])
        first = int(piece.first[0])
        wanted.append(teacher.latents[level][int(piece.reel[0])][first : first + samples // teacher.hop_samples].T)
        shifts.append(draw_shift(rng, context + samples, s.pitch_shift_probability))
    return Drawn(np.stack(sources), np.stack(shifts), np.stack(notes), np.stack(wanted))


def student(settings: Settings, teacher: Path) -> TranslationNetwork:
    """The network of a configuration with a fresh encoder, and of a pack or checkpoint all else that fits."""
    torch.manual_seed(settings.train.seed)
    network = TranslationNetwork(settings.model, list(settings.train.domains), len(settings.train.timbre_lags_ms))
    given, mine = checkpoint.start_of(teacher).weights, network.state_dict()
    fits = {k: v for k, v in given.items() if not k.startswith("encoder.") and k in mine and v.shape == mine[k].shape}
    network.load_state_dict(fits, strict=False)
    return network


def learn(
    network: TranslationNetwork, teacher: Teacher, corpus: Corpus, settings: Settings, batch: int
) -> Iterator[tuple[float, float]]:
    """Take the configured steps, each of so many segments; gives the distance and the note probe's loss of each."""
    train, context = settings.train, settings.model.encoder.context_samples
    parameters = [*network.encoder.parameters(), *network.note_probe.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=train.learning_rate, betas=(0.9, 0.99))
    for step in range(train.steps):
        optimizer.param_groups[0]["lr"] = learning_rate(train, step)
        rng = np.random.default_rng([train.seed, step, 2])
        drawn = draw(teacher, corpus, settings, batch, rng)
        source = out_of_tune(torch.from_numpy(drawn.source), drawn.shifts)
        latents = network.encode(source, context).float()
        error = distance(latents, torch.from_numpy(drawn.wanted), teacher.spread)
        note = network.note_loss(latents, torch.from_numpy(drawn.notes))
        optimizer.zero_grad(set_to_none=True)
        (error + train.note_weight * note).backward()
        torch.nn.utils.clip_grad_norm_(parameters, train.gradient_clip)
        optimizer.step()
        yield float(error.detach()), float(note.detach())


def distance(latents: Tensor, wanted: Tensor, spread: Tensor) -> Tensor:
    """Mean squared distance of latents [B, L, H] from those that are wanted, in units of their spread [L]."""
    return ((latents - wanted) / spread[:, None]).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="training configuration whose encoder is to learn")
    parser.add_argument("--teacher", type=Path, required=True, help="pack with an encoder of the same hop and latent")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32, help="segments of a second a step")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("-o", "--output", type=Path, help="checkpoint; training/runs/NAME_encoder.pt otherwise")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = configured(arguments.config, steps=arguments.steps)
    try:
        corpus = Corpus(settings.corpus.folder, "train", list(settings.train.timbre_lags_ms))
        network = student(settings, arguments.teacher)
        teacher = Teacher(arguments.teacher, corpus, settings)
    except (FileNotFoundError, ValueError, UserError) as error:
        sys.exit(f"{error}")
    recent: deque[tuple[float, float]] = deque(maxlen=SMOOTHED)
    step, began = 0, time.monotonic()
    with Stop() as stop, bar(f"{settings.name} encoder", arguments.steps, quiet=False) as shown:
        for figures in learn(network, teacher, corpus, settings, arguments.batch):
            step += 1
            recent.append(figures)
            error, note = np.mean(recent, axis=0)
            speed = step * arguments.batch * SEGMENT_SECONDS / (time.monotonic() - began)
            shown.update(step, f"latent {error:.3f} note {note:.3f} | {speed:.0f} s/s")
            if stop.asked:
                break
    output = arguments.output or RUNS / f"{settings.name}_encoder.pt"
    values = network.state_dict()
    checkpoint.write(output, {"step": step, "network": values, "average": values})
    print(f"{output}: {step} steps, {step * arguments.batch * SEGMENT_SECONDS / 3600:.1f} h heard")


if __name__ == "__main__":
    main()
