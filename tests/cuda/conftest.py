"""The GPU engine in emulation, built once: its kernel's own source, with warps as fibers (csrc/cuda/emulation.h)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cuda_library import Decoder, Library
from rtserver.model_config import DecoderConfig
from tests.parity.networks import random_decoder
from tests.programs.build import build
from tests.programs.variants import EMULATED_GPU

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def emulated_library() -> Library:
    return Library(build(EMULATED_GPU))


@pytest.fixture
def library(emulated_library: Library) -> Iterator[Library]:
    """With its schedule in turns and no faults planted, whatever the test before did."""
    emulated_library.emulate()
    yield emulated_library
    emulated_library.emulate()


@dataclass
class Network:
    """A small decoder with random weights whose logits are sharp enough to tell codes apart."""

    config: dict[str, Any]
    weights: dict[str, np.ndarray]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    @classmethod
    def random(cls, decoder: DecoderConfig, latent_channels: int = 5, hop: int = 20, gain: float = 4.0) -> Network:
        config, _, weights = random_decoder(decoder, latent_channels, hop, gain)
        return cls(config, weights)

    def latents(self, hops: int, *streams: int) -> np.ndarray:
        return self.rng.standard_normal((*streams, hops, self.config["latent_channels"])).astype(np.float32)

    def codes(self, samples: int) -> np.ndarray:
        return self.rng.integers(0, 256, samples, dtype=np.uint8)

    def on(self, library: Library, precision: str = "fp32", **options: Any) -> Decoder:
        return Decoder(library, self.config, self.weights, precision, **{"most_warps": 4, **options})
