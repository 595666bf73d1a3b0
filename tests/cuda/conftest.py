"""The GPU engine in emulation, built once: its kernel's own source, with warps as fibers (csrc/cuda/emulation.h)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cuda_library import Decoder, Library
from models.decoder import Decoder as TorchDecoder
from rtserver.model_config import DecoderConfig
from tests.programs.build import build

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def built() -> Library:
    return Library(build("rtcuda_emulated", "cuda"))


@pytest.fixture
def library(built: Library) -> Iterator[Library]:
    """With its schedule in turns and no faults planted, whatever the test before did."""
    built.emulate()
    yield built
    built.emulate()


@dataclass
class Network:
    """A small decoder with random weights whose logits are sharp enough to tell codes apart."""

    config: dict[str, Any]
    weights: dict[str, np.ndarray]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    @classmethod
    def random(cls, decoder: DecoderConfig, latent_channels: int = 5, hop: int = 20, gain: float = 4.0) -> Network:
        torch.manual_seed(0)
        module = TorchDecoder(decoder, latent_channels, hop).eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.5)  # away from the linear part of the gates
            module.logits.weight.mul_(gain)
        config = vars(decoder) | {"latent_channels": latent_channels, "hop_samples": hop, "mu_law": "rounded"}
        return cls(config, {k: v.detach().numpy().copy() for k, v in module.state_dict().items()})

    def latents(self, hops: int, *streams: int) -> np.ndarray:
        return self.rng.standard_normal((*streams, hops, self.config["latent_channels"])).astype(np.float32)

    def codes(self, samples: int) -> np.ndarray:
        return self.rng.integers(0, 256, samples, dtype=np.uint8)

    def on(self, library: Library, precision: str = "fp32", **options: Any) -> Decoder:
        return Decoder(library, self.config, self.weights, precision, **{"most_warps": 4, **options})
