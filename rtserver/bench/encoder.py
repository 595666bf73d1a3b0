"""`bench encoder`: how fast the encoder takes hops, as the audio worker runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from rtserver import _engine, prepared
from rtserver.encoder import open_encoder
from rtserver.errors import UserError
from rtserver.model_check import Weights, encoder_shapes
from rtserver.model_config import PRESETS, EncoderConfig
from rtserver.precision import encoder_ranges, of_encoder, resolve

WARM_UP_HOPS = 20


def random_weights(config: EncoderConfig, seed: int = 0) -> Weights:
    """Weights of an untrained encoder: the arithmetic takes as long with these."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in encoder_shapes(config).items():
        bound = 1.0 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.05
        weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def _chosen(
    preset: str | None, model: str | None, precision: str
) -> tuple[EncoderConfig, Weights, dict[str, npt.NDArray[np.float32]] | None]:
    """The encoder asked for, and the calibration of a pack's."""
    if model and preset:
        raise UserError("--preset and --model exclude each other; give one of them")
    if model:
        pack = prepared.load(model, precision)
        if pack.kind != "model":
            raise UserError(f"{pack.name} is a probe and has no encoder; name an instrument pack")
        return pack.config.encoder, pack.encoder, encoder_ranges(pack.calibration)
    name = preset or "live"
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name].encoder, random_weights(PRESETS[name].encoder), None


def run(
    preset: str | None = None,
    model: str | None = None,
    device: str = "cpu",
    seconds: float = 3.0,
    precision: str = "auto",
    onnx: bool = False,
) -> dict[str, Any]:
    """Encode for about `seconds`, back to back, a preset with random weights (default `live`) or a pack.

    onnx: hop by hop in turn, ONNX Runtime encodes the same in float32 on one core of the CPU, in as much time again.
    Gives the fields of `bench encoder --json`; times_realtime above 1 is faster than real time.
    """
    precision = of_encoder(resolve(precision))
    config, weights, ranges = _chosen(preset, model, precision)
    hops = np.random.default_rng(1).uniform(-0.5, 0.5, (64, config.hop_samples)).astype(np.float32)
    if precision == "int8" and ranges is None:
        ranges = _engine.Encoder(asdict(config), weights).ranges(hops[:16].ravel())
    encoders = [open_encoder(config, weights, device, precision, ranges)]
    if onnx and config.front_end is not None:
        raise UserError("an encoder behind a filter bank has no ONNX graph to compare with; leave out --onnx")
    if onnx:
        from rtserver import encoder_graph
        from rtserver.encoder_onnx import OnnxEncoder

        encoders.append(OnnxEncoder(encoder_graph.build(config, weights), config))
    taken = _in_turn([encoder.step for encoder in encoders], hops, seconds)
    figures = [_figures(encoder.backend, us, config) for encoder, us in zip(encoders, taken, strict=True)]
    return {
        "device": encoders[0].device,
        "precision": encoders[0].precision if encoders[0].device == "cpu" else "fp32",
        "model": model or f"{preset or 'live'} (random weights)",
        "layers": len(config.dilations),
        "channels": config.channels,
        "causal": config.causal,
        "front_end": asdict(config.front_end) if config.front_end else None,
        "hop_samples": config.hop_samples,
        "lookahead_samples": config.lookahead_samples,
        **figures[0],
        **({"onnxruntime": figures[1]} if onnx else {}),
    }


def _in_turn(steps: Sequence[Callable[[np.ndarray], Any]], hops: np.ndarray, seconds: float) -> list[np.ndarray]:
    """Microseconds of each hop of each of the encoders, which take turns so that a busy moment meets all alike."""
    for step in steps:
        for hop in hops[:WARM_UP_HOPS]:
            step(hop)
    taken: list[list[int]] = [[] for _ in steps]
    end = time.perf_counter_ns() + int(seconds * len(steps) * 1e9)
    while not taken[0] or time.perf_counter_ns() < end:
        hop = hops[len(taken[0]) % len(hops)]
        for step, times in zip(steps, taken, strict=True):
            start = time.perf_counter_ns()
            step(hop)
            times.append(time.perf_counter_ns() - start)
    return [np.array(times) / 1e3 for times in taken]


def _figures(backend: str, us: np.ndarray, config: EncoderConfig) -> dict[str, Any]:
    hop_us = config.hop_samples / 16000 * 1e6
    return {
        "backend": backend,
        "hops": len(us),
        "hop_us": _percentiles(us),
        "times_realtime": round(hop_us / float(np.mean(us)), 3),
    }


def _percentiles(us: np.ndarray, points: Sequence[float] = (50, 99, 99.9)) -> dict[str, float]:
    values = {f"p{str(point).replace('.', '')}": round(float(np.percentile(us, point)), 1) for point in points}
    return {**values, "max": round(float(us.max()), 1)}
