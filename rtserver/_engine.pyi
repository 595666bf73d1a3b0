# Types of the native module. H hops, L latent channels, T samples.
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Engine (csrc/cpu)

CHUNK_SAMPLES: int

def available_isas() -> list[str]:
    """Instruction sets this processor has, of "scalar", "avx2", "avx512", best last."""

def read_loop_seconds(num_bytes: int, repeats: int) -> float:
    """Median seconds of one read loop over `num_bytes`: the floor of a sample that needs that many bytes of weights."""

def uniform(seed: int, sample: int) -> float:
    """The random number in [0, 1) that a slot of this seed draws for this sample (Philox4x32-10)."""

class Decoder:
    """The immutable weights of one domain, shareable between slots and threads.

    config: the fields of DecoderConfig with latent_channels, hop_samples and, optionally, mu_law.
    weights: C-contiguous float32 arrays, names and shapes as in models.Decoder.state_dict().
    isa: "auto" takes the environment variable RTSERVER_ISA, else the best that the processor has.
    Raises ValueError naming what was expected and what was found.
    """

    def __init__(
        self,
        config: dict[str, Any],
        weights: dict[str, NDArray[np.float32]],
        *,
        isa: str = "auto",
        precision: str = "float32",
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def residual_channels(self) -> int: ...
    @property
    def skip_channels(self) -> int: ...
    @property
    def latent_channels(self) -> int: ...
    @property
    def hop_samples(self) -> int: ...
    @property
    def weight_bytes_per_sample(self) -> int: ...
    def open_slot(self, seed: int = 0, temperature: float = 1.0) -> Slot: ...
    def logits(self, latents: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Teacher-forced logits [T, 256] of each code given those before; latents [H, L], codes [T], T <= H * hop."""

class Slot:
    """One stream through a decoder. Slots are independent; each is used by one thread at a time (RuntimeError)."""

    temperature: float
    @property
    def position(self) -> int: ...
    def reset(self, seed: int) -> None:
        """Back to sample 0; equal to a fresh slot of this seed, apart from the temperature, which stays."""

    def generate(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The codes [H * hop] of the next hops; latents [H, L]. Continues the stream. Releases the GIL."""
