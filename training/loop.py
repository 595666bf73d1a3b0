"""The alternating step of Mor et al. 2018, section 3.3, and all that a run of it keeps: weights, averages, optimizers.

Shapes: B segments for the decoder, L more for the confusion loss only, T samples, H hops.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtserver.model_config import ModelConfig
from training import checkpoint
from training.batches import Prepared, domain_of_step, noise, out_of_tune, own_history, own_stretches, prefetch
from training.dataset import Corpus
from training.distributed import Group
from training.network import History, Teacher, TranslationNetwork
from training.settings import Settings, TrainSettings

CHECKOUT = Path(__file__).parents[1]  # what `start` and `teacher` are relative to, unless there as they stand


@dataclass(frozen=True)
class Losses:
    """Means over the batches of all processes: of the next code, of the two small heads (nats), of the classifier's
    right answers (a share), and the norm of the gradients before they are clipped."""

    reconstruction: float
    domain: float
    note: float
    accuracy: float
    gradient: float


def weights_at(path: str) -> Path:
    """A pack or checkpoint of a configuration: where it says, or else in the checkout."""
    here = Path(path)
    return here if here.exists() else CHECKOUT / here


def learning_rate(settings: TrainSettings, step: int) -> float:
    """A linear warm-up (a twentieth of short runs at most), then a cosine between the two configured rates."""
    warm = min(1.0, (step + 1) / max(1.0, min(settings.learning_rate_warmup_steps, settings.steps / 20)))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / settings.steps)))
    return warm * (settings.final_learning_rate + (settings.learning_rate - settings.final_learning_rate) * cosine)


def confusion_weight(settings: TrainSettings, step: int) -> float:
    """Lambda: 0 up to `confusion_from_step`, then a linear rise to its full value."""
    if step < settings.confusion_from_step:
        return 0.0
    rise = (step - settings.confusion_from_step + 1) / max(1, settings.confusion_warmup_steps)
    return settings.confusion_weight * min(1.0, rise)


class Trainer:
    """Network, averaged weights, optimizers and step count of one run, in this process of a group."""

    def __init__(self, settings: Settings, device: torch.device | str = "cpu", group: Group | None = None) -> None:
        """Raises FileNotFoundError without a corpus, ValueError if what it is to start from doesn't fit."""
        self.settings, self.step, self.first_step = settings, 0, 0
        self.waited_s = 0.0  # for segments to be prepared
        self.group = group or Group(str(device))
        self.device = self.group.device
        torch.manual_seed(settings.train.seed)
        train = settings.train
        instruments = list(train.timbre_lags_ms)
        self.corpus = Corpus(settings.corpus.folder, "train", instruments)
        self.network = TranslationNetwork(settings.model, list(train.domains), len(instruments))
        if train.start:
            checkpoint.start_from(
                self.network, checkpoint.start_of(weights_at(train.start)), train.start_decoders or {}
            )
        self.network.to(self.device)
        self.teacher = self._teacher() if train.teacher else None
        self.group.share(self.network)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.frozen = train.encoder == "frozen"
        self.network.encoder.requires_grad_(not self.frozen)
        theirs = list(self.network.classifier.parameters())
        self.parameters = [p for n, p in self.network.named_parameters() if not n.startswith("classifier.")]
        self.parameters = [p for p in self.parameters if p.requires_grad]
        fused = {"fused": True} if self.device.type == "cuda" else {}
        self.optimizer = torch.optim.Adam(self.parameters, lr=train.learning_rate, betas=(0.9, 0.99), **fused)
        self.classifier_optimizer = torch.optim.Adam(theirs, lr=train.classifier_learning_rate, **fused)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self.batches: Generator[Prepared, None, None] | None = None
        self.batch: Prepared  # of the last step
        if train.compile:
            self.network.encoder.compile(dynamic=False)
            for decoder in self.network.decoders.values():
                decoder.compile(dynamic=False)

    def _teacher(self) -> Teacher:
        """Of the settings. ValueError if its decoders don't understand the encoder, or lack one of the domains."""
        train, mine = self.settings.train, self.settings.model
        path = weights_at(train.teacher)
        start, encoder = checkpoint.start_of(path), self.network.encoder.state_dict()
        decoder = start.decoder or mine.decoder
        if decoder.prediction_order != mine.decoder.prediction_order:
            raise ValueError(f"{path}: expected a teacher with prediction_order {mine.decoder.prediction_order}")
        network = TranslationNetwork(replace(mine, decoder=decoder), list(train.domains), 1)
        for fresh in checkpoint.start_from(network, start, {}):
            if fresh.startswith("decoders."):
                raise ValueError(f"{path}: expected a teacher with a decoder {fresh.partition('.')[2]}")
        for name, weights in network.encoder.state_dict().items():
            if not torch.equal(weights, encoder[name].cpu()):
                raise ValueError(f"{path}: expected a teacher with the encoder that `start` has; {name} differs")
        return Teacher(network.to(self.device).requires_grad_(False), train.teacher_guidance)

    # --- going on -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that `go_on` needs to take the same steps."""
        return {
            "step": self.step,
            "processes": self.group.size,
            "model": asdict(self.settings.model),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "classifier_optimizer": self.classifier_optimizer.state_dict(),
        }

    def save(self, path: Path) -> None:
        checkpoint.write(path, self.state())

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; one without moments (they may stay behind) starts those anew.

        ValueError if it is of another architecture or of other decoders.
        """
        state = checkpoint.read(path, self.device)
        if "model" in state and ModelConfig.from_dict(state["model"]) != self.settings.model:
            raise ValueError(f"{path}: of another architecture than [model] of {self.settings.name}")
        mine, theirs = set(self.network.state_dict()), set(state["network"])
        if mine != theirs:
            name = min(mine ^ theirs)
            where = "is not in the configuration" if name in theirs else "is not in the checkpoint"
            raise ValueError(f"{path}: {name} {where}; start a run of another name from it with `start`")
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average = {k: v.to(self.device).clone() for k, v in state["average"].items()}
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.classifier_optimizer.load_state_dict(state["classifier_optimizer"])
        self.close()

    def close(self) -> None:
        """End the processes that prepare segments."""
        if self.batches is not None:
            self.batches.close()
            self.batches = None

    # --- a step ---------------------------------------------------------------------------------------------------

    def next_batch(self) -> Prepared:
        if self.batches is None:
            self.batches = prefetch(self.settings, self.corpus, self.step, self.group.rank)
        began = time.monotonic()
        batch = next(self.batches)
        self.waited_s += time.monotonic() - began
        return batch

    def train_step(self) -> tuple[str, Losses]:
        """One batch of one domain through both halves of the alternating step."""
        s = self.settings.train
        rate = learning_rate(s, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self.batch = self.next_batch()
        assert batch.domain == domain_of_step(s.domains, self.step)
        source, target, history, timbre, notes, kept = (
            torch.from_numpy(a).to(self.device, non_blocking=True)
            for a in (batch.source, batch.target, batch.history, batch.timbre, batch.notes, batch.kept)
        )
        source = out_of_tune(source, batch.shifts)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.bfloat16):
            with torch.set_grad_enabled(not self.frozen):
                latents = self.network.encode(source, source.shape[1] - target.shape[1])
            domain_loss, accuracy = self._teach_classifier(latents.detach(), timbre)
            loss, reconstruction, note = torch.zeros((), device=self.device), None, domain_loss * 0.0
            if not self.frozen:
                loss = loss - confusion_weight(s, self.step) * self._confusion(latents, timbre)
                if s.note_weight:
                    note = self.network.note_loss(latents, notes)
                    loss = loss + s.note_weight * note
            heard = latents[: len(target)] * kept[:, None, None].to(latents.dtype)
            led_by = History(
                history,
                alone=own_stretches(batch, s.own_stretches, self.device),
                noise=noise(batch, self.device),
                own=own_history(batch, s.own_history, self.device),
                own_passes=s.own_history_passes,
                temperature=s.own_history_temperature,
            )
            reconstruction = self.network.reconstruction(
                batch.domain, heard, target, led_by, s.warmup_samples, self.teacher
            ).mean()
            loss = loss + reconstruction
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.group.average_gradients(self.parameters)
        gradient = nn.utils.clip_grad_norm_(self.parameters, s.gradient_clip)
        self.optimizer.step()
        self.step += 1
        self._average_weights()
        means = self.group.mean(
            torch.stack([x.detach().float() for x in (reconstruction, domain_loss, note, accuracy)])
        )
        return batch.domain, Losses(*means.tolist(), gradient=float(gradient))

    def _teach_classifier(self, latents: Tensor, timbre: Tensor) -> tuple[Tensor, Tensor]:
        """The first half: the classifier learns on latents that it can't change; gives its loss and accuracy."""
        logits = self.network.classifier(latents).float()
        loss = F.cross_entropy(logits, timbre)
        accuracy = (logits.argmax(dim=1) == timbre).float().mean()
        if not self.frozen:
            self.classifier_optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.group.average_gradients(self.network.classifier.parameters())
            self.classifier_optimizer.step()
        return loss.detach(), accuracy

    def _confusion(self, latents: Tensor, timbre: Tensor) -> Tensor:
        """The updated classifier's loss, bounded for each segment: no reward for being wronger than a guess."""
        losses = F.cross_entropy(self.network.classifier(latents).float(), timbre, reduction="none")
        return losses.clamp(max=math.log(len(self.corpus.instruments))).mean()

    @torch.no_grad()
    def _average_weights(self) -> None:
        decay = min(self.settings.train.average_decay, self.step / (self.step + 10))
        values = self.network.state_dict()
        torch._foreach_lerp_([self.average[n] for n in values], list(values.values()), 1.0 - decay)
