"""The trainable whole: universal encoder, one decoder a domain, domain classifier, and the note probe.

Shapes: B batch, T samples, H hops, L latent channels.
"""

from __future__ import annotations

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


def _logits(decoder: nn.Module, past: Tensor, latents: Tensor, ahead: Tensor | None) -> Tensor:
    logits: Tensor = decoder(past.unsqueeze(1), latents, None if ahead is None else ahead.unsqueeze(1))
    return logits


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
        history_noise: Tensor | float = 0.0,
        warmup_samples: int = 0,
        history: Tensor | None = None,
        own: tuple[Tensor, Tensor] | None = None,
        own_passes: int = 1,
        own_temperature: float = 1.0,
        alone: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Cross-entropy [B, T - warmup] of each code of target [B, T] given the past and the latents.

        history_noise: what is added to the teacher-forced past as the network sees it, [B, T]: it makes the decoder
        trust its latent, and its own imperfect past when it runs free.
        history: what stands in for the past of target, [B, T]; target itself otherwise.
        warmup_samples: codes at the start, where the past is cut off, that don't count.
        own: uniform numbers in [0, 1), [B, T], and which codes of the past, bool [B, T], are replaced by those that the
        decoder itself draws with them, led by the rest: scheduled sampling in one pass (Mihaylova and Martins 2019,
        section 3). Noise of its own kind, of which it then learns not to make more.
        own_passes: how often, each time led by what it drew the time before. With ever more passes and every code
        replaced, what it draws becomes what it says when it runs free.
        own_temperature: at which it draws them: that at which it is to be played.
        alone: as `own`, but one code after the other, as when it is played: what it says comes back to it. For
        stretches of the past; `own` replaces others after that (scheduled sampling, Bengio et al. 2015).
        """
        codes = self.codes(target)
        past_codes = codes if history is None else self.codes(history)
        if alone is not None:
            module = cast(Decoder, self.decoders[domain])
            past_codes = cpu_decoder.say(module, past_codes, latents, alone[1], alone[0], own_temperature)
        past = mu_law.network_input(past_codes) + history_noise
        if own is not None:
            taught = past
            for _ in range(own_passes):
                said = self._drawn(domain, past, latents, own[0], own_temperature)
                past = torch.where(own[1], mu_law.network_input(said), taught)
        decoder, ahead = self.decoders[domain], self._ahead(past)
        if ahead is not None:
            codes = prediction.classes_of(codes, ahead)
        if cpu_decoder.usable(decoder, past):
            return cpu_decoder.losses(cast(Decoder, decoder), past, latents, codes, ahead)[:, warmup_samples:]
        logits = _logits(decoder, past, latents, ahead)[:, :, warmup_samples:]
        return F.cross_entropy(logits.float(), codes[:, warmup_samples:], reduction="none")

    @torch.no_grad()
    def _drawn(self, domain: str, past: Tensor, latents: Tensor, uniform: Tensor, temperature: float) -> Tensor:
        """Codes int64 [B, T] that the decoder draws with numbers [B, T], each led by `past` [B, T] before it."""
        decoder, ahead = self.decoders[domain], self._ahead(past)
        if cpu_decoder.usable(decoder, past):
            said = cpu_decoder.draw(cast(Decoder, decoder), past, latents, uniform, temperature, ahead)
        else:
            said = draw_codes(_logits(decoder, past, latents, ahead), uniform, temperature)
        return said if ahead is None else prediction.codes_of(said, ahead)

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
