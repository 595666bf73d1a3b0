"""`bench encoder`: how fast the encoder takes hops, as the audio worker runs it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtserver import encoder_graph, prepared
from rtserver.encoder import OnnxEncoder
from rtserver.errors import UserError
from rtserver.model_check import Weights, encoder_shapes
from rtserver.model_config import PRESETS, EncoderConfig

WARM_UP_HOPS = 20


def random_weights(config: EncoderConfig, seed: int = 0) -> Weights:
    """Weights of an untrained encoder: the arithmetic takes as long with these."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in encoder_shapes(config).items():
        bound = 1.0 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.05
        weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def _chosen(preset: str | None, model: str | None) -> tuple[EncoderConfig, Weights]:
    if model and preset:
        raise UserError("--preset and --model exclude each other; give one of them")
    if model:
        pack = prepared.load(model)
        if pack.kind != "model":
            raise UserError(f"{pack.name} is a probe and has no encoder; name an instrument pack")
        return pack.config.encoder, pack.encoder
    name = preset or "live"
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name].encoder, random_weights(PRESETS[name].encoder)


def run(
    preset: str | None = None,
    model: str | None = None,
    device: str = "cpu",
    seconds: float = 3.0,
    threads: int = 1,
) -> dict[str, Any]:
    """Encode for about `seconds`, back to back, a preset with random weights (default `live`) or a pack.

    Gives the fields of `bench encoder --json`; times_realtime above 1 is faster than real time.
    """
    config, weights = _chosen(preset, model)
    encoder = OnnxEncoder(encoder_graph.build(config, weights), config, device, threads)
    hops = np.random.default_rng(1).uniform(-0.5, 0.5, (64, config.hop_samples)).astype(np.float32)
    for hop in hops[:WARM_UP_HOPS]:
        encoder.step(hop)
    taken: list[int] = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    while not taken or time.perf_counter_ns() < end:
        start = time.perf_counter_ns()
        encoder.step(hops[len(taken) % len(hops)])
        taken.append(time.perf_counter_ns() - start)
    hop_us = config.hop_samples / 16000 * 1e6
    return {
        "device": encoder.device,
        "backend": encoder.backend,
        "model": model or f"{preset or 'live'} (random weights)",
        "layers": len(config.dilations),
        "channels": config.channels,
        "causal": config.causal,
        "hop_samples": config.hop_samples,
        "lookahead_samples": config.lookahead_samples,
        "threads": threads,
        "hops": len(taken),
        "hop_us": _percentiles(np.array(taken) / 1e3),
        "times_realtime": round(hop_us / (float(np.mean(taken)) / 1e3), 3),
    }


def _percentiles(us: np.ndarray, points: Sequence[float] = (50, 99, 99.9)) -> dict[str, float]:
    values = {f"p{str(point).replace('.', '')}": round(float(np.percentile(us, point)), 1) for point in points}
    return {**values, "max": round(float(us.max()), 1)}
