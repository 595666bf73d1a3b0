"""What a live session of a model costs, measured when the model is warmed: the record that admission reckons with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtserver.latency import NETWORK_RATE_HZ
from rtserver.worker.messages import Cost

BUDGET_SECONDS = 0.03  # a measurement: a second of a first sound is not the place for more
REPEATS = (2, 12)  # at least and at most; the best counts, because a machine only ever adds to the time
COMPANY = 4  # slots: the more of them, the flatter the line from one slot to many


def measure(encoder: Any, voices: list[Any]) -> Cost:
    """Cores that live sessions of these networks take. encoder: as `networks.encoder` gives it, warm as the voices.

    All decoders of a pack have one architecture, so the first stands for all.
    """
    from rtserver import _engine

    noise = np.random.default_rng(0)
    voice = voices[0]
    hop_seconds = voice.hop_samples / NETWORK_RATE_HZ
    latents = noise.standard_normal((COMPANY, 1, voice.latent_channels)).astype(np.float32)
    on_cpu = isinstance(voice, _engine.Decoder)  # on a GPU a core waits for as long as that plays
    play_together: Any = _engine.generate_together if on_cpu else _engine.cuda_generate_together
    slots = [voice.open_slot(seed) for seed in range(COMPANY)]
    alone = _best(lambda: slots[0].generate(latents[0]))
    together = _best(lambda: play_together(slots, latents))
    stream = encoder.fork()
    hop = noise.uniform(-0.5, 0.5, voice.hop_samples).astype(np.float32)
    encoding = _best(lambda: stream.step(hop))
    more = max(0.0, together - alone) / (COMPANY - 1)
    return Cost(alone / hop_seconds, min(alone, more) / hop_seconds, encoding / hop_seconds)


def _best(step: Callable[[], object]) -> float:
    """Least seconds of a step."""
    least, most = REPEATS
    best, done, began = float("inf"), 0, time.perf_counter()
    while done < least or (done < most and time.perf_counter() - began < BUDGET_SECONDS):
        started = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - started)
        done += 1
    return best
