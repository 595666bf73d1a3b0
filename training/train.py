"""Train a model: `python -m training.train --config training/configs/live_cpu.toml`.

Alternates, as in Mor et al. 2018, section 3.3: the classifier learns to tell the source's timbre from the latent;
encoder and decoder learn to reconstruct while confusing it. Goes on from the last checkpoint in training/runs/NAME;
stops cleanly, with a checkpoint, after --minutes or on Ctrl-C. `loss.png` there shows how it went.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.augment import fade_somewhere, shift_pitch_somewhere
from training.dataset import Batch, Corpus
from training.network import Losses, TranslationNetwork
from training.settings import Settings, TrainSettings

RUNS = Path(__file__).parent / "runs"


def learning_rate(settings: TrainSettings, step: int, steps: int) -> float:
    """A linear warm-up over 100 steps (a twentieth of short runs), then a cosine between the two configured rates."""
    warm = min(1.0, (step + 1) / max(1.0, min(100.0, steps / 20)))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
    return warm * (settings.final_learning_rate + (settings.learning_rate - settings.final_learning_rate) * cosine)


class Trainer:
    """Network, averaged weights, optimizers and step count of one run."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self.settings, self.device, self.step = settings, device, 0
        torch.manual_seed(settings.train.seed)
        self.rng = np.random.default_rng(settings.train.seed)
        domains = list(settings.train.domains)
        instruments = list(settings.train.timbre_lags_ms)
        self.corpus = Corpus(settings.corpus.folder, "train", instruments)
        self.network = TranslationNetwork(settings.model, domains, len(instruments)).to(device)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        classifier = list(self.network.classifier.parameters())
        theirs = {id(p) for p in classifier}
        rest = [p for p in self.network.parameters() if id(p) not in theirs]
        self.optimizer = torch.optim.Adam(rest, betas=(0.9, 0.99))
        self.classifier_optimizer = torch.optim.Adam(classifier, lr=1e-3)

    def save(self, path: Path) -> None:
        """Write a checkpoint beside its final place, then rename, so that none is ever half written."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "classifier_optimizer": self.classifier_optimizer.state_dict(),
        }
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.rename(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; one without optimizer moments (they may stay behind) starts those anew."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.classifier_optimizer.load_state_dict(state["classifier_optimizer"])
        self.rng = np.random.default_rng(self.settings.train.seed + self.step)

    def _tensors(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        probability = self.settings.train.pitch_shift_probability
        source = np.stack(
            [shift_pitch_somewhere(s, self.rng) if self.rng.random() < probability else s for s in batch.source]
        )
        fade = self.settings.train.history_fade_probability
        history = np.stack([fade_somewhere(t, self.rng) if self.rng.random() < fade else t for t in batch.target])
        arrays = (source, batch.target, history, batch.timbre, batch.notes)
        return tuple(torch.from_numpy(a).to(self.device) for a in arrays)

    def train_step(self, steps: int) -> tuple[str, Losses]:
        """One batch of one domain through both halves of the alternating step."""
        s = self.settings.train
        rate = learning_rate(s, self.step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        names, shares = zip(*s.domains.items(), strict=False)
        domain = str(self.rng.choice(names, p=np.array(shares) / sum(shares)))
        samples = round(s.segment_seconds * self.settings.model.sample_rate_hz)
        batch = self.corpus.draw(self.rng, domain, s.timbre_lags_ms, s.timbre_probability, s.batch, samples)
        source, target, history, timbre, notes = self._tensors(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.bfloat16):
            latents = self.network.encode(source)
            classifier_loss, _ = self.network.heads(latents.detach(), timbre, notes)
            self.classifier_optimizer.zero_grad()
            classifier_loss.backward()
            self.classifier_optimizer.step()

            domain_loss, note_loss = self.network.heads(latents, timbre, notes)
            kept = (torch.rand(len(latents), 1, 1, device=self.device) >= s.latent_dropout).to(latents.dtype)
            reconstruction = self.network.reconstruction(
                domain, latents * kept, target, s.history_noise, s.warmup_samples, history
            ).mean()
            # The confusion term is bounded: no reward for being wronger than a guess.
            confusion = domain_loss.clamp(max=math.log(len(self.corpus.instruments)))
            loss = reconstruction - s.confusion_weight * confusion + s.note_weight * note_loss
            self.optimizer.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), s.gradient_clip)
        self.optimizer.step()
        self.step += 1
        decay = min(s.average_decay, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1.0 - decay)
        return domain, Losses(reconstruction.detach(), classifier_loss.detach(), note_loss.detach())


def read_log(log: Path) -> list[dict[str, Any]]:
    """The rows of a run's log: step, decoder, reconstruction, domain, note."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def picture(log: Path, out: Path) -> None:
    """Draw the losses of a run's log against its steps, each smoothed over 25 of its decoder's steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_log(log)
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6), constrained_layout=True)
    for axis, key in zip(axes, ("reconstruction", "domain", "note"), strict=False):
        for domain in sorted({r["decoder"] for r in rows}):
            mine = [r for r in rows if r["decoder"] == domain]
            width = min(25, len(mine))
            smooth = np.convolve([r[key] for r in mine], np.ones(width) / width, mode="valid")
            axis.plot([r["step"] for r in mine[width - 1 :]], smooth, lw=1.0, label=domain)
        axis.set_title(key), axis.set_xlabel("step"), axis.set_ylabel("nats"), axis.legend()
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="training configuration (TOML)")
    parser.add_argument("--steps", type=int, help="length of the learning-rate schedule; the configuration's otherwise")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, with a checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = Settings.read(arguments.config)
    steps = arguments.steps or settings.train.steps
    trainer = Trainer(settings, torch.device(arguments.device))
    run = RUNS / settings.name
    run.mkdir(parents=True, exist_ok=True)
    checkpoint, log = run / "checkpoint.pt", run / "log.jsonl"
    if checkpoint.exists():
        trainer.load(checkpoint)
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns) as progress, open(log, "a", buffering=1, encoding="utf-8") as file:
            task = progress.add_task(settings.name, total=steps, completed=trainer.step)
            while trainer.step < steps and time.monotonic() - started < arguments.minutes * 60:
                domain, losses = trainer.train_step(steps)
                row = {name: round(float(value), 4) for name, value in vars(losses).items()}
                file.write(json.dumps({"step": trainer.step, "decoder": domain, **row}) + "\n")
                told = f"step {trainer.step} {domain} {row['reconstruction']:.3f}"
                progress.update(task, completed=trainer.step, description=told)
                if trainer.step % settings.train.checkpoint_steps == 0:
                    trainer.save(checkpoint)
                    picture(log, run / "loss.png")
    except KeyboardInterrupt:
        pass
    trainer.save(checkpoint)
    picture(log, run / "loss.png")
    print(f"{checkpoint} at step {trainer.step}; losses in {run / 'loss.png'}")


if __name__ == "__main__":
    main()
