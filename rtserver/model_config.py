"""The architecture of a translation model, as stored in a model file.

These records are the one description that the PyTorch modules (`models/`), the ONNX encoder graph
and the C++ engine are all built from. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

MuLawKind = Literal["rounded", "published"]
SAMPLE_RATE_HZ = 16000  # of every network


@dataclass(frozen=True)
class ConstantQConfig:
    """Filter bank of `octaves` x `bins_per_octave` frequencies from a MIDI pitch upwards (models/constant_q.py).

    periods: of its frequency that a filter's window holds, up to `window_samples`.
    """

    lowest_note: int = 33
    octaves: int = 7
    bins_per_octave: int = 24
    periods: int = 24
    window_samples: int = 2048

    @property
    def bins(self) -> int:
        return self.octaves * self.bins_per_octave

    @property
    def highest_hz(self) -> float:
        """Frequency of the last bin."""
        return float(440.0 * 2.0 ** ((self.lowest_note - 69) / 12.0 + (self.bins - 1) / self.bins_per_octave))


@dataclass(frozen=True)
class EncoderConfig:
    """WaveNet-like encoder (Mor et al. 2018, section 3.1): `blocks` x `layers` residual dilated convolutions.

    causal: every convolution looks back only; otherwise padding is symmetric and the encoder has lookahead.
    pre_activation: ReLU before the dilated convolution (the paper's text); after it otherwise (the published code).
    front_end: what the convolutions hear. None: mu-law codes, sample by sample, and a mean over the hop gives its
    latent. Else a filter bank's output, once a hop, of audio that was not companded; dilations then count hops.
    """

    blocks: int = 3
    layers: int = 10
    channels: int = 128
    kernel_size: int = 3
    causal: bool = True
    pre_activation: bool = False
    latent_channels: int = 64
    hop_samples: int = 160
    front_end: ConstantQConfig | None = None

    @property
    def dilations(self) -> tuple[int, ...]:
        return tuple(2**i for _ in range(self.blocks) for i in range(self.layers))

    @property
    def inputs(self) -> int:
        """Channels that the first convolution reads."""
        return 1 if self.front_end is None else self.front_end.bins

    @property
    def past_samples(self) -> int:
        """Samples before the newest one that a causal encoder's output depends on, through its convolutions."""
        steps = (self.kernel_size - 1) * (1 + sum(self.dilations))
        return steps if self.front_end is None else steps * self.hop_samples + self.front_end.window_samples - 1

    @property
    def context_samples(self) -> int:
        """Whole hops that training has an encoder hear before a segment. Behind a filter bank its past is long and
        costs next to nothing; on a waveform it would cost as much again as the segment."""
        return 0 if self.front_end is None else -(-self.past_samples // self.hop_samples) * self.hop_samples

    @property
    def lookahead_samples(self) -> int:
        """Samples beyond the end of a hop that its latent depends on; 0 when causal."""
        if self.causal:
            return 0
        reach = (self.kernel_size - 1) // 2
        return reach * (1 + sum(self.dilations))


@dataclass(frozen=True)
class DecoderConfig:
    """Autoregressive WaveNet decoder: `blocks` x `layers` gated dilated convolutions, kernel 2, 256-way softmax.

    prediction_order: samples that the linear prediction looks back whose error the softmax says (models/prediction.py);
    0: none, and it says the code itself.
    """

    blocks: int = 4
    layers: int = 10
    residual_channels: int = 128
    skip_channels: int = 128
    kernel_size: int = 2
    classes: int = 256
    prediction_order: int = 0

    @property
    def dilations(self) -> tuple[int, ...]:
        return tuple(2**i for _ in range(self.blocks) for i in range(self.layers))

    @property
    def receptive_field_samples(self) -> int:
        return (self.kernel_size - 1) * (1 + sum(self.dilations)) + 1


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the arithmetic of a pack, apart from the weights.

    emphasis: a of the pre-emphasis y[n] = x[n] - a x[n - 1] that decoders predict; x[n] = y[n] + a x[n - 1] undoes it
    after them, and takes the noise of sampling down where ears are keen (Valin and Skoglund 2019, section 3.2).
    """

    preset: str = "live"
    sample_rate_hz: int = SAMPLE_RATE_HZ
    mu_law: MuLawKind = "rounded"
    emphasis: float = 0.0
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    @property
    def input_encoding(self) -> str:
        """How the encoder hears audio: "mu_law_rounded", "mu_law_published" or "linear"."""
        return f"mu_law_{self.mu_law}" if self.encoder.front_end is None else "linear"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Rebuild from `to_dict`. Raises TypeError or ValueError on unknown or missing fields."""
        values = dict(values)
        encoder = EncoderConfig(**values.pop("encoder"))
        if encoder.front_end is not None:
            encoder = replace(encoder, front_end=ConstantQConfig(**encoder.front_end))  # type: ignore[arg-type]
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
    "constant_q": ModelConfig(
        preset="constant_q",
        encoder=EncoderConfig(
            blocks=1, layers=4, causal=True, latent_channels=16, hop_samples=160, front_end=ConstantQConfig()
        ),
    ),
}


def narrowed(config: ModelConfig, *, encoder_channels: int, residual_channels: int, skip_channels: int) -> ModelConfig:
    """The same network with other widths."""
    return replace(
        config,
        encoder=replace(config.encoder, channels=encoder_channels),
        decoder=replace(config.decoder, residual_channels=residual_channels, skip_channels=skip_channels),
    )
