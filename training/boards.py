"""TensorBoard: scalars, and what a decoder sounds like. Nothing happens where tensorboard isn't installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import mu_law
from models.emphasis import deemphasise
from training.batches import Prepared
from training.network import TranslationNetwork

RATE_HZ = 16000


class Board:
    """Writes below a folder, or nowhere if tensorboard is missing or `wanted` is false."""

    def __init__(self, folder: Path, wanted: bool = True) -> None:
        self.writer: Any = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self.writer = SummaryWriter(str(folder))

    def scalars(self, step: int, domain: str, row: dict[str, float]) -> None:
        if self.writer is None:
            return
        for name, value in row.items():
            self.writer.add_scalar(f"{name}/{domain}" if name in ("reconstruction", "note") else name, value, step)

    @torch.no_grad()
    def example(self, step: int, network: TranslationNetwork, batch: Prepared) -> None:
        """The first segment of a batch: what the encoder heard, the target, and the decoder's word for each sample.

        The decoder is led by the true past (teacher-forced), so this tells of its loss, not of how it plays alone.
        """
        if self.writer is None:
            return
        device = next(network.parameters()).device
        source, target = (torch.from_numpy(a[:1]).to(device) for a in (batch.source, batch.target))
        past = mu_law.network_input(network.codes(target)).unsqueeze(1)
        context = source.shape[1] - target.shape[1]
        # `forward` itself: a compiled module would be compiled again for this one segment.
        latents = network.encoder.forward(network.heard(source))[:, :, context // network.config.encoder.hop_samples :]
        logits = network.decoders[batch.domain].forward(past, latents)[0].float()
        drawn = torch.distributions.Categorical(logits=logits.T).sample()
        said = deemphasise(mu_law.decode(drawn, network.config.mu_law).cpu().numpy(), network.config.emphasis)
        for name, audio in (
            ("heard", source[0, context:]),
            ("target", target[0]),
            ("teacher_forced", torch.from_numpy(said)),
        ):
            tag = f"{batch.domain}/{name}"
            self.writer.add_audio(tag, audio.float().cpu().unsqueeze(0), step, sample_rate=RATE_HZ)
            self.writer.add_image(tag, spectrogram(audio.float().cpu()), step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def spectrogram(audio: Tensor, floor_db: float = -80.0) -> Tensor:
    """Grey picture [1, 257 frequencies from high to low, frames] in [0, 1] of audio [T], over 80 dB."""
    magnitude = torch.stft(audio, 512, 128, window=torch.hann_window(512), return_complex=True).abs()
    level = 20.0 * torch.log10(magnitude / magnitude.max().clamp(min=1e-6) + 1e-9)
    return (level.clamp(min=floor_db) / -floor_db + 1.0).flip(0).unsqueeze(0)
