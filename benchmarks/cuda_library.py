"""The GPU engine as a library of its own, through its C interface (csrc/cuda/c_api.h): the real one, or its emulation.

Needs numpy and nothing else, so that a machine with a GPU needs neither a compiler nor rtserver's packages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = 256
MOST_WARPS = 16

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class DeviceError(RuntimeError):
    """What the library says went wrong."""


@dataclass(frozen=True)
class Facts:
    """How a decoder lies on its device. resident: records of weights of each warp's that stay in shared memory."""

    team_blocks: int
    warps: int
    channels: int
    most_teams: int
    clustered: bool
    resident: int
    records: int
    most_together: int
    weight_bytes: int
    slot_bytes: int
    device: str


def _pointer(array: npt.NDArray[Any] | None) -> Any:
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


class Library:
    """The loaded library at `path`."""

    def __init__(self, path: Path) -> None:
        self._c = ctypes.CDLL(str(path))
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "error": (ctypes.c_char_p, []),
            "device_count": (integer, []),
            "open": (pointer, [pointer, integer, pointer, pointer, pointer, pointer, ctypes.c_char_p, pointer]),
            "close": (None, [pointer]),
            "describe": (None, [pointer, pointer, ctypes.c_char_p, integer]),
            "logits": (integer, [pointer, pointer, pointer, ctypes.c_int64, pointer]),
            "slot_open": (pointer, [pointer, ctypes.c_uint64, ctypes.c_float]),
            "slot_reset": (None, [pointer, ctypes.c_uint64]),
            "slot_temperature": (None, [pointer, ctypes.c_float]),
            "slot_close": (None, [pointer]),
            "generate": (integer, [pointer, integer, pointer, pointer, integer]),
            "emulate": (integer, [ctypes.c_uint32, integer]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._c, f"rtcuda_{name}")
            function.restype, function.argtypes = result, arguments

    def call(self, name: str, *arguments: Any) -> Any:
        return getattr(self._c, f"rtcuda_{name}")(*arguments)

    def error(self) -> DeviceError:
        return DeviceError(self.call("error").decode())

    def device_count(self) -> int:
        return int(self.call("device_count"))

    def emulate(self, seed: int = 0, fault: int = 0) -> None:
        """The schedule of the emulation's launches to come, and a planted fault (csrc/cuda/emulation.h)."""
        self.call("emulate", seed, fault)


class Decoder:
    """config: the fields of DecoderConfig with latent_channels and hop_samples; weights: as models.Decoder's."""

    def __init__(
        self,
        library: Library,
        config: Mapping[str, Any],
        weights: Mapping[str, Floats],
        precision: str = "fp16",
        device: int = 0,
        team_blocks: int = 0,
        most_warps: int = 0,
        clusters: bool = True,
    ) -> None:
        names = ("blocks", "layers", "residual_channels", "skip_channels", "latent_channels", "hop_samples")
        order = config.get("prediction_order", 0)
        numbers = np.array([*(config[name] for name in names), order], np.intc)
        arrays = [np.ascontiguousarray(value, np.float32) for value in weights.values()]
        keys = (ctypes.c_char_p * len(arrays))(*[name.encode() for name in weights])
        data = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
        dimensions = np.array([array.ndim for array in arrays], np.intc)
        shapes = np.array([n for array in arrays for n in array.shape], np.int64)
        options = np.array([device, team_blocks, most_warps, int(clusters)], np.intc)
        self._library = library
        self.hop_samples, self.latent_channels = int(config["hop_samples"]), int(config["latent_channels"])
        self._handle = library.call(
            "open",
            _pointer(numbers),
            len(arrays),
            keys,
            data,
            _pointer(dimensions),
            _pointer(shapes),
            precision.encode(),
            _pointer(options),
        )
        if not self._handle:
            raise library.error()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.call("close", self._handle)

    @property
    def facts(self) -> Facts:
        values, name = np.zeros(10, np.int64), ctypes.create_string_buffer(256)
        self._library.call("describe", self._handle, _pointer(values), name, len(name))
        n = [int(value) for value in values]
        return Facts(n[0], n[1], n[2], n[3], bool(n[4]), n[5], n[6], n[7], n[8], n[9], name.value.decode())

    def logits(self, latents: Floats, codes: Bytes) -> Floats:
        """Teacher-forced logits [T, 256]; latents [H, L], codes [T]."""
        latents = np.ascontiguousarray(latents, np.float32)
        out = np.full((len(codes), CLASSES), np.nan, np.float32)
        if not self._library.call(
            "logits", self._handle, _pointer(latents), _pointer(codes), len(codes), _pointer(out)
        ):
            raise self._library.error()
        return out

    def open_slot(self, seed: int = 0, temperature: float = 1.0) -> Slot:
        return Slot(self._library, self, self._handle, seed, temperature)


class Slot:
    """One stream through a decoder."""

    def __init__(self, library: Library, decoder: Decoder, handle: Any, seed: int, temperature: float) -> None:
        self._library, self.decoder = library, decoder  # the decoder lives as long as its slots
        self.handle = library.call("slot_open", handle, seed, temperature)
        if not self.handle:
            raise library.error()

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._library.call("slot_close", self.handle)

    def reset(self, seed: int) -> None:
        self._library.call("slot_reset", self.handle, seed)

    def generate(self, latents: Floats, chunk: int = 0) -> Bytes:
        """The codes [H * hop] of the next hops, in launches of `chunk` samples (0: of a hop)."""
        return generate_together(self._library, [self], latents[None], chunk)[0]


def generate_together(library: Library, slots: Sequence[Slot], latents: Floats, chunk: int = 0) -> Bytes:
    """Codes [N, H * hop] of N slots of one decoder; latents [N, H, L]."""
    hop = slots[0].decoder.hop_samples
    handles = (ctypes.c_void_p * len(slots))(*[slot.handle for slot in slots])
    parts = []
    for h in range(latents.shape[1]):
        latent = np.ascontiguousarray(latents[:, h], np.float32)
        for first in range(0, hop, chunk or hop):
            n = min(chunk or hop, hop - first)
            codes = np.zeros((len(slots), n), np.uint8)
            given = _pointer(latent) if first == 0 else None
            if not library.call("generate", handles, len(slots), given, _pointer(codes), n):
                raise library.error()
            parts.append(codes)
    return np.concatenate(parts, axis=1)
