"""The trainable whole: universal encoder, one decoder a domain, domain classifier, and the note probe.

Shapes: B batch, T samples, H hops, L latent channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import mu_law, prediction
from models.classifier import DomainClassifier
from models.decoder import Decoder
from models.emphasis import emphasise
from models.encoder import Encoder
from rtserver.model_config import ModelConfig
from rtserver.model_file import Model
from training import cpu_decoder

NOTE_CLASSES = 128  # MIDI pitches; 0 stands for a rest


class NoteProbe(nn.Module):
    """Reads the sounding note from latents; a training aid that is not part of the model file."""

    def __init__(self, latent_channels: int, channels: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(latent_channels, channels, 1)
        self.logits = nn.Conv1d(channels, NOTE_CLASSES, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """latents [B, L, H] -> logits [B, 128, H]."""
        return self.logits(F.relu(self.hidden(latents)))


def draw_codes(logits: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """Codes int64 [B, T] with the chances of logits [B, 256, T]: where the sums of chances exceed numbers [B, T]."""
    sums = (logits.float() / temperature).softmax(dim=1).cumsum(dim=1)
    return (sums < uniform.unsqueeze(1)).sum(dim=1).clamp(max=logits.shape[1] - 1)


@dataclass(frozen=True)
class History:
    """The past [B, T] that a decoder is led by, where it isn't that of the target: it must find out of what it did.

    audio: what stands in for the past of the target. alone: uniform numbers in [0, 1) and which codes, bool, are
    replaced by what the decoder says playing alone, one after the other, so that it comes back to it (scheduled
    sampling, Bengio et al. 2015). noise: what is added, as the network sees it: the decoder trusts its latent then.
    own: as `alone`, but drawn in one pass, each led by the rest as it was (Mihaylova and Martins 2019, section 3):
    noise of its own kind, of which it then learns not to make more. own_passes: how often, each time led by what it
    drew the time before; with ever more of them and every code replaced, what it draws becomes what it says alone.
    temperature: at which it says `alone` and `own`: that at which it is to be played.
    """

    audio: Tensor | None = None
    alone: tuple[Tensor, Tensor] | None = None
    noise: Tensor | float = 0.0
    own: tuple[Tensor, Tensor] | None = None
    own_passes: int = 1
    temperature: float = 1.0


CLEAN = History()


@dataclass(frozen=True)
class Teacher:
    """Decoders that say what others are to say, with any past, guided by their latent.

    That is softmax(l + guidance (l - l0)) of logits l, and l0 with a latent of zeros (classifier-free guidance, Ho and
    Salimans 2022), which `latent_dropout` has taught them to play with. Shapes of the decoders need not be those of
    the student's, the language of the latents and of the codes must.
    """

    network: TranslationNetwork
    guidance: Mapping[str, float] = field(default_factory=dict)  # by decoder

    @torch.no_grad()
    def chances(self, domain: str, past: Tensor, latents: Tensor) -> Tensor:
        """Of each code, or class, [B, 256, T], given past network inputs [B, T] and latents [B, L, H]."""
        logits = self.network.logits(domain, past, latents).float()
        if guidance := self.guidance.get(domain):
            unheard = self.network.logits(domain, past, torch.zeros_like(latents)).float()
            logits = torch.lerp(unheard, logits, 1.0 + guidance)
        return logits.movedim(1, 2).softmax(dim=2).movedim(2, 1)  # in the order in which the engine has them


class TranslationNetwork(nn.Module):
    def __init__(self, config: ModelConfig, domains: list[str], timbres: int) -> None:
        super().__init__()
        self.config = config
        latent, hop = config.encoder.latent_channels, config.encoder.hop_samples
        self.encoder = Encoder(config.encoder)
        self.decoders = nn.ModuleDict({name: Decoder(config.decoder, latent, hop) for name in domains})
        self.classifier = DomainClassifier(latent, timbres)
        self.note_probe = NoteProbe(latent)

    def codes(self, audio: Tensor) -> Tensor:
        """What a decoder says for audio [B, T] in [-1, 1]: int64 codes [B, T]."""
        return mu_law.encode(emphasise(audio, self.config.emphasis), self.config.mu_law)

    def heard(self, audio: Tensor) -> Tensor:
        """What the encoder sees of audio [B, T] in [-1, 1]: network input [B, 1, T]."""
        if self.config.input_encoding == "linear":
            return audio.unsqueeze(1)
        return mu_law.network_input(mu_law.encode(audio, self.config.mu_law)).unsqueeze(1)

    def encode(self, audio: Tensor, context_samples: int = 0) -> Tensor:
        """audio [B, context + T] in [-1, 1] -> latents [B, L, H] of the last T samples.

        context_samples: a whole number of hops that are heard beforehand.
        """
        latents: Tensor = self.encoder(self.heard(audio))
        return latents[:, :, context_samples // self.config.encoder.hop_samples :]

    def reconstruction(
        self,
        domain: str,
        latents: Tensor,
        target: Tensor,
        history: History = CLEAN,
        warmup_samples: int = 0,
        teacher: Teacher | None = None,
    ) -> Tensor:
        """Cross-entropy [B, T - warmup] of each code of target [B, T] given the past and the latents.

        warmup_samples: codes at the start, where the past is cut off, that don't count.
        teacher: what it says to the same past takes the place of the target's codes. It has an answer to every past,
        of whatever phase, where the target has only its own.
        """
        past = self.past(domain, latents, target, history)
        decoder, ahead = self.decoders[domain], self._ahead(past)
        if teacher is not None:
            wanted = teacher.chances(domain, past, latents)
        else:
            wanted = self.codes(target)
            wanted = wanted if ahead is None else prediction.classes_of(wanted, ahead)
        if cpu_decoder.usable(decoder, past):
            return cpu_decoder.losses(cast(Decoder, decoder), past, latents, wanted, ahead)[:, warmup_samples:]
        logits = self._forward(decoder, past, latents, ahead)[:, :, warmup_samples:]
        return F.cross_entropy(logits.float(), wanted[..., warmup_samples:], reduction="none")

    @torch.no_grad()
    def past(self, domain: str, latents: Tensor, target: Tensor, history: History) -> Tensor:
        """Network inputs [B, T] of the past of target [B, T] that the decoder is led by (not shifted yet)."""
        decoder = cast(Decoder, self.decoders[domain])
        codes = self.codes(target if history.audio is None else history.audio)
        if history.alone is not None:
            uniform, own = history.alone
            codes = cpu_decoder.say(decoder, codes, latents, own, uniform, history.temperature)
        past = given = mu_law.network_input(codes) + history.noise
        if history.own is not None:
            for _ in range(history.own_passes):
                said = self._drawn(domain, past, latents, history.own[0], history.temperature)
                past = torch.where(history.own[1], mu_law.network_input(said), given)
        return past

    @torch.no_grad()
    def logits(self, domain: str, past: Tensor, latents: Tensor) -> Tensor:
        """What a decoder says, [B, 256, T], led by past network inputs [B, T]: of codes or of classes."""
        decoder, ahead = self.decoders[domain], self._ahead(past)
        if cpu_decoder.usable(decoder, past):
            return cpu_decoder.logits(cast(Decoder, decoder), past, latents, ahead)
        return self._forward(decoder, past, latents, ahead)

    @torch.no_grad()
    def _drawn(self, domain: str, past: Tensor, latents: Tensor, uniform: Tensor, temperature: float) -> Tensor:
        """Codes int64 [B, T] that the decoder draws with numbers [B, T], each led by `past` [B, T] before it."""
        decoder, ahead = self.decoders[domain], self._ahead(past)
        if cpu_decoder.usable(decoder, past):
            said = cpu_decoder.draw(cast(Decoder, decoder), past, latents, uniform, temperature, ahead)
        else:
            said = draw_codes(self._forward(decoder, past, latents, ahead), uniform, temperature)
        return said if ahead is None else prediction.codes_of(said, ahead)

    @staticmethod
    def _forward(decoder: nn.Module, past: Tensor, latents: Tensor, ahead: Tensor | None) -> Tensor:
        logits: Tensor = decoder(past.unsqueeze(1), latents, None if ahead is None else ahead.unsqueeze(1))
        return logits

    def _ahead(self, past: Tensor) -> Tensor | None:
        """Network inputs [B, T] of what linear prediction makes of `past` [B, T], where decoders hear it."""
        order = self.config.decoder.prediction_order
        return prediction.ahead(past, order) if order else None

    def note_loss(self, latents: Tensor, notes: Tensor) -> Tensor:
        """Mean cross-entropy of the note probe; notes: MIDI pitches [B, hops of 10 ms], negative where unknown."""
        per_hop = self.config.encoder.hop_samples // 160
        wanted = notes[:, per_hop - 1 :: per_hop]
        logits = self.note_probe(latents).float()
        losses = F.cross_entropy(logits, wanted.clamp(min=0), reduction="none") * (wanted >= 0)
        return losses.sum() / (wanted >= 0).sum().clamp(min=1)

    def heads(self, latents: Tensor, timbre: Tensor, notes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropies of the domain classifier and of the note probe."""
        return F.cross_entropy(self.classifier(latents).float(), timbre), self.note_loss(latents, notes)


def network_of(model: Model) -> TranslationNetwork:
    """The network with a pack's weights. Classifier and note probe, which packs don't have, are fresh."""
    network = TranslationNetwork(model.config, list(model.decoders), timbres=1).eval()
    network.encoder.load_state_dict({k: torch.from_numpy(v) for k, v in model.encoder.items()})
    for name, weights in model.decoders.items():
        network.decoders[name].load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return network
