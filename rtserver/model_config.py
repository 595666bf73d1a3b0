"""The architecture of a translation model, as stored in a model file.

These records are the one description that the PyTorch modules (`models/`), the ONNX encoder graph
and the C++ engine are all built from. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

MuLawKind = Literal["rounded", "published"]


@dataclass(frozen=True)
class EncoderConfig:
    """WaveNet-like encoder (Mor et al. 2018, section 3.1): `blocks` x `layers` residual dilated convolutions.

    causal: every convolution looks back only; otherwise padding is symmetric and the encoder has lookahead.
    pre_activation: ReLU before the dilated convolution (the paper's text); after it otherwise (the published code).
    """

    blocks: int = 3
    layers: int = 10
    channels: int = 128
    kernel_size: int = 3
    causal: bool = True
    pre_activation: bool = False
    latent_channels: int = 64
    hop_samples: int = 160

    @property
    def dilations(self) -> tuple[int, ...]:
        return tuple(2**i for _ in range(self.blocks) for i in range(self.layers))

    @property
    def lookahead_samples(self) -> int:
        """Samples beyond the end of a hop that its latent depends on; 0 when causal."""
        if self.causal:
            return 0
        reach = (self.kernel_size - 1) // 2
        return reach * (1 + sum(self.dilations))


@dataclass(frozen=True)
class DecoderConfig:
    """Autoregressive WaveNet decoder: `blocks` x `layers` gated dilated convolutions, kernel 2, 256-way softmax."""

    blocks: int = 4
    layers: int = 10
    residual_channels: int = 128
    skip_channels: int = 128
    kernel_size: int = 2
    classes: int = 256

    @property
    def dilations(self) -> tuple[int, ...]:
        return tuple(2**i for _ in range(self.blocks) for i in range(self.layers))

    @property
    def receptive_field_samples(self) -> int:
        return (self.kernel_size - 1) * (1 + sum(self.dilations)) + 1


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the arithmetic of a pack, apart from the weights."""

    preset: str = "live"
    sample_rate_hz: int = 16000
    mu_law: MuLawKind = "rounded"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Rebuild from `to_dict`. Raises TypeError or ValueError on unknown or missing fields."""
        values = dict(values)
        encoder = EncoderConfig(**values.pop("encoder"))
        decoder = DecoderConfig(**values.pop("decoder"))
        return cls(encoder=encoder, decoder=decoder, **values)


PRESETS: dict[str, ModelConfig] = {
    "paper": ModelConfig(
        preset="paper",
        encoder=EncoderConfig(causal=False, latent_channels=64, hop_samples=800),
    ),
    "live": ModelConfig(
        preset="live",
        encoder=EncoderConfig(causal=True, latent_channels=16, hop_samples=160),
    ),
}


def narrowed(config: ModelConfig, *, encoder_channels: int, residual_channels: int, skip_channels: int) -> ModelConfig:
    """The same network with other widths."""
    return replace(
        config,
        encoder=replace(config.encoder, channels=encoder_channels),
        decoder=replace(config.decoder, residual_channels=residual_channels, skip_channels=skip_channels),
    )
