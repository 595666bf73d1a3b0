"""Prepared weights: the checked content of a pack as one flat file that can be mapped and used as it lies.

Layout, little-endian: magic (8 bytes), version (u32), length of the header (u32), SHA-256 of all that follows (32
bytes), zeros to 64; the header, JSON in UTF-8; then every tensor as float32, the codes of 4-bit weights as int8, each
beginning at a multiple of 64.
The header names the tensors in order with their shapes; where each lies follows from that, so there are no offsets
that could be wrong. Nothing in the file is ever executed, and what is read is checked as a pack is.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Sequence
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from rtserver.errors import UserError
from rtserver.model_check import FORMAT, check_calibration, check_content, plain_values
from rtserver.model_file import Model
from rtserver.safe_load import MAX_FILE_BYTES

VERSION = 2
MAGIC = b"rtprep\r\n"
ALIGNMENT = 64
MAX_HEADER_BYTES = 8 << 20  # a card of 1 MiB in JSON's escapes, and the names of the tensors of 64 decoders
MAX_BYTES = 2 * MAX_FILE_BYTES + MAX_HEADER_BYTES  # a pack may hold float16, which doubles here
_PREFIX = struct.Struct("<8sII32s")
_FLOAT, _BYTE = np.dtype("<f4"), np.dtype("i1")
_CALIBRATION_DEPTHS = {"decoders": 2, "encoder": 2, "codes": 3}  # how many names lead to an array of each part

Image = bytes | mmap
Piece = bytes | memoryview


class Damaged(Exception):
    """The bytes are not the prepared content of that pack; the message says what was found."""


def pieces(model: Model) -> list[Piece]:
    """The bytes of a model's prepared content, in order."""
    tensors = list(_tensors(model))
    header = {
        "sha256": model.sha256,
        "config": model.config.to_dict(),
        "card": model.card,
        "calibration": {k: v for k, v in model.calibration.items() if k not in _CALIBRATION_DEPTHS},
        "tensors": [[*place, list(array.shape)] for place, array in tensors],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER_BYTES:
        raise Damaged(f"a header of {len(text)} bytes is longer than {MAX_HEADER_BYTES}")
    body: list[Piece] = [text, bytes(-len(text) % ALIGNMENT)]
    for place, array in tensors:
        body.append(np.ascontiguousarray(array, _dtype(place)).reshape(-1).data.cast("B"))
        body.append(bytes(-array.nbytes % ALIGNMENT))
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    prefix = _PREFIX.pack(MAGIC, VERSION, len(text), digest.digest())
    return [prefix, bytes(ALIGNMENT - len(prefix)), *body]


def _tensors(model: Model) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Every array of a model with the names that lead to it."""
    for name, array in model.encoder.items():
        yield ("encoder", name), array
    for decoder, weights in model.decoders.items():
        for name, array in weights.items():
            yield ("decoders", decoder, name), array
    for part in ("decoders", "encoder"):
        for name, array in model.calibration.get(part, {}).items():
            yield ("calibration", part, name), array
    for decoder, arrays in model.calibration.get("codes", {}).items():
        for name, array in arrays.items():
            yield ("calibration", "codes", decoder, name), array


def _dtype(place: Sequence[str]) -> np.dtype[Any]:
    """Of the tensor that these names lead to."""
    in_bytes = place[:2] == ("calibration", "codes") and not place[-1].endswith("_scale")
    return _BYTE if in_bytes else _FLOAT


def read(image: Image, path: Path, sha256: str, *, check_sum: bool = True) -> Model:
    """The model of the pack `path`, whose bytes have that digest. Its arrays are read-only views of `image`.

    check_sum: whether to compare the checksum too, which takes a pass over the file. Raises Damaged.
    """
    if len(image) < ALIGNMENT:
        raise Damaged(f"{len(image)} bytes are too few")
    magic, version, header_bytes, digest = _PREFIX.unpack(image[: _PREFIX.size])
    if magic != MAGIC:
        raise Damaged("it does not begin as prepared weights do")
    if version != VERSION:
        raise Damaged(f"version {version}, expected {VERSION}")
    if header_bytes > min(MAX_HEADER_BYTES, len(image) - ALIGNMENT):
        raise Damaged(f"a header of {header_bytes} bytes in a file of {len(image)}")
    if check_sum and hashlib.sha256(memoryview(image)[ALIGNMENT:]).digest() != digest:
        raise Damaged("its checksum is wrong")
    try:
        header = json.loads(image[ALIGNMENT : ALIGNMENT + header_bytes])
        content = _content(header, image, ALIGNMENT + header_bytes + -header_bytes % ALIGNMENT)
        if content["sha256"] != sha256:
            raise Damaged("it was made from another pack")
        config, encoder, decoders = check_content(content["pack"], path)
        calibration = check_calibration(content["calibration"], path, config, decoders)
        card = plain_values(content["card"], "card")
    except (UserError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise Damaged(" ".join(str(error).split())[:300] or type(error).__name__) from None
    return Model(path, path.stem, config, encoder, decoders, card, sha256, calibration)


def _content(header: dict[str, Any], image: Image, at: int) -> dict[str, Any]:
    """What `check_content` and its like take, with arrays in the places that the header names."""
    pack: dict[str, Any] = {"format": FORMAT, "config": header["config"], "encoder": {}, "decoders": {}}
    calibration: dict[str, Any] = dict(header["calibration"])
    root = {**pack, "calibration": calibration}
    if calibration:
        calibration |= {"decoders": {}, "encoder": {}}
    for *place, shape in header["tensors"]:
        sound = len(shape) <= 4 and all(type(n) is int and n >= 0 for n in shape)
        if not sound or not all(isinstance(name, str) for name in place):
            raise Damaged(f"a tensor of shape {str(shape)[:60]}")
        values, dtype = math.prod(shape), _dtype(tuple(place))
        if values > (len(image) - at) // dtype.itemsize:
            raise Damaged(f"tensor {'.'.join(place)[:80]} reaches beyond the end of the file")
        array = np.frombuffer(image, dtype, values, at).reshape(shape)
        at += array.nbytes + -array.nbytes % ALIGNMENT
        _put(root, place, array.astype(dtype.newbyteorder("="), copy=False))  # a copy where the machine is big-endian
    if at != len(image):
        raise Damaged(f"{len(image)} bytes, expected {at}")
    return {"pack": pack, "calibration": calibration, "card": header["card"], "sha256": header["sha256"]}


def _put(root: dict[str, Any], place: list[str], array: np.ndarray) -> None:
    kind, *names = place
    depth = _CALIBRATION_DEPTHS[names[0]] if kind == "calibration" else {"encoder": 1, "decoders": 2}[kind]
    group = root[kind]
    if len(names) != depth:
        raise Damaged(f"no tensor can lie at {'.'.join(place)[:80]}")
    for name in names[:-1]:
        group = group.setdefault(name, {})
        if not isinstance(group, dict):
            raise Damaged("a calibration that is none")
    if names[-1] in group:
        raise Damaged(f"two tensors at {'.'.join(place)[:80]}")
    group[names[-1]] = array
