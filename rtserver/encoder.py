"""The encoder of a stream, hop by hop: in the engine on a CPU, in ONNX Runtime on a GPU. One path a device.

An encoder behind a filter bank (`EncoderConfig.front_end`) is the exception: 30 us of a 10 ms hop leave nothing for a
GPU to win, and it runs on the CPU whatever the device.
Used by the audio worker, for files and for measurements. Neither ONNX Runtime nor onnx is imported for a CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from rtserver import _engine
from rtserver.errors import UserError
from rtserver.model_check import Weights
from rtserver.model_config import EncoderConfig

log = logging.getLogger(__name__)


class EngineEncoder:
    """One stream through an encoder of the engine.

    Not for use from two threads at once; forks are independent of each other, and give the same bits alone or together.
    """

    device = "cpu"

    def __init__(self, engine: _engine.Encoder, config: EncoderConfig) -> None:
        self.config = config
        self.precision = engine.precision
        self.backend = f"engine {engine.isa} {engine.precision}"
        self._engine = engine
        self._stream = engine.open_stream()

    def fork(self) -> EngineEncoder:
        """Another stream, fresh, with the same weights."""
        return EngineEncoder(self._engine, self.config)

    def reset(self) -> None:
        """Back to the state before the first hop."""
        self._stream.reset()

    def step(self, hop: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        """Take the next hop, float32 [hop_samples] of network input; give the latent float32 [L] that is now complete.

        Without lookahead that is the latent of this hop, else of an earlier one, and None while there is none.
        ValueError if the hop is of another shape or type, or the stream has ended.
        """
        return self._stream.step(hop)

    def finish(self) -> list[npt.NDArray[np.float32]]:
        """End the stream after the hops taken so far; give the latents that were waiting for what comes after."""
        return self._stream.finish()


def on_cpu(
    config: EncoderConfig,
    weights: Weights,
    precision: str = "fp32",
    calibration: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> EngineEncoder:
    """An encoder in the engine. calibration: what `_engine.Encoder.ranges` gives, for int8 only.

    Raises ValueError naming what was expected and what was found.
    """
    ranges = dict(calibration or {}) if precision == "int8" else None
    return EngineEncoder(_engine.Encoder(asdict(config), weights, precision=precision, calibration=ranges), config)


def open_encoder(
    config: EncoderConfig,
    weights: Weights,
    device: str = "cpu",
    precision: str = "fp32",
    calibration: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Any:
    """An encoder on "cpu", "cuda", "cuda:N" or "auto"; failing CUDA, on the CPU, with a warning where it was asked for.

    Behind a filter bank it is on the CPU, and in float32, always. A GPU computes in float32 whatever the precision.
    What comes back has `fork()`, `reset()`, `step(hop)`, `finish()`, `device` and `backend`.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not index.isdecimal()):
        raise UserError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N")
    if kind != "cpu" and config.front_end is None:
        found = _on_gpu(config, weights, device)
        if found is not None:
            return found
    return on_cpu(config, weights, precision, calibration)


def _on_gpu(config: EncoderConfig, weights: Weights, device: str) -> Any:
    """An encoder on a GPU, or None where there is none."""
    try:
        import onnxruntime as ort

        there = "CUDAExecutionProvider" in ort.get_available_providers()
    except ImportError:
        there = False
    if there:
        from rtserver import encoder_graph
        from rtserver.encoder_onnx import OnnxEncoder

        found = OnnxEncoder(encoder_graph.build(config, weights), config, device)
        if found.device != "cpu":
            return found
    elif device != "auto":
        log.warning("ONNX Runtime here has no CUDA (onnxruntime-gpu is not installed): the encoder runs on the CPU")
    return None
