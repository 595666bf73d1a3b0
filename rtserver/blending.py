"""From one passage into another within the latent: Mor et al. 2018, section 4 ("semantic blending").

Both passages are embedded, the end of the first is crossfaded linearly with the beginning of the second, and one
decoder plays the result in one go: it never stops, so there is no seam in its sound. Shapes: H hops, L latent channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtserver.errors import UserError
from rtserver.pipeline import Translator

Signal = tuple[np.ndarray, int]  # float32 [n] or [n, channels], and its rate in Hz


def crossfade(first: np.ndarray, second: np.ndarray, hops: int) -> np.ndarray:
    """Latents [H1, L] and [H2, L] to [H1 + H2 - hops, L]; over `hops` the weights go linearly from one to the other.

    ValueError if one of them is shorter than that.
    """
    if hops > min(len(first), len(second)):
        raise ValueError(f"a crossfade of {hops} hops over passages of {len(first)} and {len(second)}")
    t = ((np.arange(hops, dtype=np.float32) + 0.5) / max(hops, 1))[:, None]
    end = len(first) - hops
    mixed: np.ndarray = np.concatenate([first[:end], (1 - t) * first[end:] + t * second[:hops], second[hops:]])
    return mixed


def blend(
    translator: Translator,
    first: Signal,
    second: Signal,
    decoder: str | None = None,
    crossfade_s: float = 1.5,
    seed: int = 0,
    temperature: float = 1.0,
    rate_hz: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Two passages as one: float32 [frames], in length their sum less the crossfade, at rate_hz or the first's rate.

    progress: called with the share that is done, 0 to 1. UserError for a probe, a passage that is shorter than the
    crossfade, or a rate that isn't supported.
    """
    config = translator.model.config
    latents = [translator.embed(frames, rate) for frames, rate in (first, second)]
    hop_s = translator.model.hop_samples / config.sample_rate_hz
    hops = round(crossfade_s / hop_s)
    shorter = min(map(len, latents))
    if hops > shorter:
        raise UserError(
            f"a crossfade of {crossfade_s:g} s is longer than the shorter input ({shorter * hop_s:.2f} s);"
            f" choose --crossfade-seconds {shorter * hop_s:.2f} or less"
        )
    mixed = crossfade(latents[0], latents[1], hops)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done / len(mixed))

    return translator.render(mixed, rate_hz or first[1], decoder, seed, temperature, tell)
