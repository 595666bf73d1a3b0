"""The encoder of a stream, hop by hop, in ONNX Runtime: what `rtserver.encoder` opens on a GPU.

One session (weights, packed once) is shared by every stream; a stream owns its caches only. Two sets of caches take
turns as input and output through bindings made once, so that a step allocates and copies nothing but its hop.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from rtserver.errors import UserError
from rtserver.model_config import EncoderConfig

log = logging.getLogger(__name__)


def cache_shapes(config: EncoderConfig) -> list[tuple[int, int]]:
    """Rows and channels of each cache, oldest row first: of every convolution, then of the hop not yet complete."""
    k, c = config.kernel_size, config.channels
    shapes = [(k - 1, 1)] + [((k - 1) * d, c) for d in config.dilations]
    pending = -config.lookahead_samples % config.hop_samples
    return [*shapes, (pending, c)] if pending else shapes


def lag_hops(config: EncoderConfig) -> int:
    """By how many hops a latent comes after the hop it belongs to."""
    return -(-config.lookahead_samples // config.hop_samples)


def open_session(graph: bytes, device: str = "cpu", threads: int = 1) -> Any:
    """An ONNX Runtime session on "cpu", "cuda", "cuda:N" or "auto"; failing CUDA, on the CPU with a warning."""
    try:
        import onnxruntime as ort
    except ImportError:
        raise UserError("the encoder needs ONNX Runtime, which is not installed; `pip install onnxruntime`") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not index.isdecimal()):
        raise UserError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" or (kind == "auto" and "CUDAExecutionProvider" in ort.get_available_providers()):
        if "CUDAExecutionProvider" in ort.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(index or 0), "use_tf32": "0"}))
        else:
            log.warning("ONNX Runtime here has no CUDA (onnxruntime-gpu is not installed): the encoder runs on the CPU")
    session = ort.InferenceSession(graph, options, providers=providers)
    if len(providers) > 1 and "CUDAExecutionProvider" not in session.get_providers():
        log.warning("ONNX Runtime could not open the GPU: the encoder runs on the CPU")
    return session


class OnnxEncoder:
    """One stream through the encoder of `graph` (see `encoder_graph.build`).

    Not for use from two threads at once; forks are independent of each other, and give the same bits alone or together.
    """

    def __init__(self, graph: bytes, config: EncoderConfig, device: str = "cpu", threads: int = 1) -> None:
        self._open(open_session(graph, device, threads), config)
        for _ in range(2):  # ONNX Runtime sizes its arena in the first runs; a stream's first hops must not wait for it
            self._run()
        self.reset()

    def fork(self) -> OnnxEncoder:
        """Another stream, fresh, on the same session."""
        other = object.__new__(OnnxEncoder)
        other._open(self._session, self.config)
        return other

    def _open(self, session: Any, config: EncoderConfig) -> None:
        import onnxruntime as ort

        self._session = session
        self.config = config
        self.device = "cuda" if "CUDAExecutionProvider" in session.get_providers() else "cpu"
        self.backend = f"onnxruntime {ort.__version__}"
        self._lag = lag_hops(config)
        self._hop = np.zeros((config.hop_samples, 1), np.float32)
        self._mask = np.ones((config.lookahead_samples + config.hop_samples, 1), np.float32)
        index = session.get_provider_options().get("CUDAExecutionProvider", {}).get("device_id", 0)

        def value(array: np.ndarray) -> Any:
            # On the CPU the value is the array's own memory.
            return ort.OrtValue.ortvalue_from_numpy(array, self.device, int(index))

        self._zeros = [np.zeros(shape, np.float32) for shape in cache_shapes(config)]
        self._caches = [[value(zero.copy()) for zero in self._zeros] for _ in range(2)]
        self._inputs = {"hop": self._hop, **({"mask": self._mask} if self._lag else {})}
        self._input_values = {name: value(array) for name, array in self._inputs.items()}
        self._latent = np.zeros((1, config.latent_channels), np.float32)
        latent_value = ort.OrtValue.ortvalue_from_numpy(self._latent)
        self._bindings = []
        for now, after in (self._caches, self._caches[::-1]):
            binding = session.io_binding()
            for name, bound in self._input_values.items():
                binding.bind_ortvalue_input(name, bound)
            for i in range(len(self._zeros)):
                binding.bind_ortvalue_input(f"cache_{i}", now[i])
                binding.bind_ortvalue_output(f"next_{i}", after[i])
            binding.bind_ortvalue_output("latent", latent_value)
            self._bindings.append(binding)
        # The caches and inputs of CPU values are views of these arrays, which must live as long as the bindings.
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first hop."""
        for cache, zero in zip(self._caches[0], self._zeros, strict=True):
            cache.update_inplace(zero)
        self._hops = 0
        self._end: int | None = None

    def step(self, hop: np.ndarray) -> np.ndarray | None:
        """Take the next hop, float32 [hop_samples] of network input; give the latent float32 [L] that is now complete.

        Without lookahead that is the latent of this hop, else of the hop `lag_hops` earlier, and None
        while there is no such hop.
        """
        if self._end is not None:
            raise ValueError("the stream has ended; reset() begins another")
        if hop.shape != (self.config.hop_samples,):
            raise ValueError(f"a hop has {self.config.hop_samples} samples, found shape {hop.shape}")
        self._hop[:, 0] = hop
        return self._run()

    def finish(self) -> list[np.ndarray]:
        """End the stream after the hops taken so far; give the latents that were waiting for what comes after."""
        if self._end is not None:
            return []
        self._end = self._hops * self.config.hop_samples
        self._hop[:] = 0.0
        latents = [self._run() for _ in range(self._lag)]
        return [latent for latent in latents if latent is not None]

    def _run(self) -> np.ndarray | None:
        if self._lag:
            self._set_mask()
        if self.device != "cpu":
            for name, array in self._inputs.items():
                self._input_values[name].update_inplace(array)
        binding = self._bindings[self._hops % 2]
        self._session.run_with_iobinding(binding)
        if self.device != "cpu":
            binding.synchronize_outputs()
        self._hops += 1
        return self._latent[0].copy() if self._hops > self._lag else None

    def _set_mask(self) -> None:
        """Mark the samples from `lookahead` before this hop to its end that lie inside of the signal."""
        first = self._hops * self.config.hop_samples - self.config.lookahead_samples
        last = len(self._mask) if self._end is None else self._end - first
        self._mask[:] = 1.0
        self._mask[: max(0, -first)] = 0.0
        self._mask[max(0, last) :] = 0.0
