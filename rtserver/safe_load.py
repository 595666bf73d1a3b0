"""Reading a PyTorch file that may be hostile: bounded in size, and nothing in it can run code."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtserver.errors import UserError

MAX_FILE_BYTES = 1 << 30  # the largest network in use (56 layers, 128 channels, six decoders) takes 170 MB
MINIMUM_TORCH = (2, 10)  # before it, weights_only could be bypassed (CVE-2025-32434, CVE-2026-24747)


def read_bytes(path: Path) -> bytes:
    """The file's bytes, at most MAX_FILE_BYTES of them. UserError if there are more, or none, or it can't be read."""
    limit = MAX_FILE_BYTES
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; check the file and its permissions") from None
    if len(data) > limit:
        raise UserError(f"{path} is larger than the limit of {limit >> 20} MiB; no instrument pack is: refused")
    if not data:
        raise UserError(f"{path} is empty; copy or download the file again")
    return data


def unpickle_safely(data: bytes, path: Path, allow: Sequence[Any] = (), *, legacy: bool = False) -> Any:
    """`torch.load(weights_only=True)` of a file's bytes, its size checked first.

    allow: further harmless classes, as `torch.serialization.safe_globals` takes them.
    legacy: take the format of PyTorch before 1.6 too, which is not a zip archive.
    """
    if not legacy or data[:2] == b"PK":
        _check_archive(data, path)
    torch = import_torch()
    try:
        with torch.serialization.safe_globals(list(allow)):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found.group(1)})" if found else ""
        raise UserError(
            f"{path} holds objects that could run code when loaded{what}: refused; a pack has only tensors and plain"
            " values, so get the file from a source you trust"
        ) from None
    except Exception as error:
        raise UserError(f"{path} can't be unpacked ({first_line(error)}); copy or download the file again") from None


def _check_archive(data: bytes, path: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            broken = archive.testzip() if unpacked <= MAX_FILE_BYTES else None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError):
        if data[:2] == b"PK":
            raise UserError(f"{path} is truncated or damaged; copy or download the file again") from None
        raise UserError(
            f"{path} is not an instrument pack: expected a torch.save archive, found"
            f" {_looks_like(data)}; make a pack with training's export or `rtserver import-checkpoint`"
        ) from None
    if unpacked > MAX_FILE_BYTES:
        raise UserError(f"{path} unpacks to more than the limit of {MAX_FILE_BYTES >> 20} MiB: refused")
    if broken is not None:
        raise UserError(f"{path} is damaged (checksum of {broken} is wrong); copy or download the file again")
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise UserError(f"{path} is a zip archive but not one of torch.save; expected an instrument pack")


def import_torch() -> Any:
    """PyTorch, if it is here and reads files safely; else a UserError."""
    try:
        import torch
    except ImportError:
        raise UserError("reading a model file needs PyTorch, which is not installed; `pip install torch`") from None
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < MINIMUM_TORCH:
        wanted = ".".join(map(str, MINIMUM_TORCH))
        raise UserError(
            f"PyTorch {torch.__version__} can't read model files safely; expected {wanted} or newer:"
            f" `pip install 'torch>={wanted}'`"
        )
    return torch


def _looks_like(data: bytes) -> str:
    kinds = ((b"RIFF", "a WAV file"), (b"\x89PNG", "a picture"), (b"\x80", "a bare pickle"), (b"\x08", "an ONNX file"))
    return next((kind for start, kind in kinds if data.startswith(start)), "something else")


def first_line(error: Exception) -> str:
    """The beginning of an error's message, fit for one line."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
