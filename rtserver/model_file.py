"""Instrument packs (`.pt`): finding, reading, checking and writing them.

A pack is a `torch.save` of {"format", "config", "encoder", "decoders", "calibration", "card"}. Whatever is read is
taken for hostile until checked: only tensors and plain values are unpickled (`weights_only`), sizes are bounded before
anything is allocated, and every tensor must have the name, the shape and the finite values that the config asks for.
Only the control process and the tools read packs; the audio worker gets plain arrays.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from rtserver.errors import UserError
from rtserver.model_config import DecoderConfig, EncoderConfig, ModelConfig

FORMAT = "rtserver-model-1"
PROBES = ("loopback", "identity16k")
MAX_FILE_BYTES = 1 << 30  # the largest network in use (56 layers, 128 channels, six decoders) takes 170 MB
MAX_CARD_BYTES = 1 << 20
MINIMUM_TORCH = (2, 10)  # before it, weights_only could be bypassed (CVE-2025-32434, CVE-2026-24747)

ModelKind = Literal["model", "loopback", "identity16k"]
Weights = dict[str, np.ndarray]

# Bounds of every number in a config, so that a hostile one can't ask for an absurd network.
_LIMITS: dict[str, tuple[int, int]] = {
    "blocks": (1, 16),
    "layers": (1, 16),
    "channels": (1, 1024),
    "residual_channels": (1, 1024),
    "skip_channels": (1, 1024),
    "kernel_size": (2, 9),
    "classes": (256, 256),
    "latent_channels": (1, 1024),
    "hop_samples": (16, 16000),
}
_FIELDS = ("format", "config", "encoder", "decoders", "calibration", "card")
_DECODER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")


@dataclass(frozen=True)
class Model:
    """A checked pack (kind "model") or a built-in probe, which has no weights.

    encoder, decoders[name]: float32 C-contiguous arrays by the names of `models.Encoder` and `models.Decoder`.
    sha256: of the file's bytes; of the name for a probe.
    """

    path: Path | None
    name: str
    config: ModelConfig
    encoder: Weights
    decoders: dict[str, Weights]
    card: dict[str, Any]
    sha256: str
    calibration: dict[str, Any] = field(default_factory=dict)
    kind: ModelKind = "model"

    @property
    def hop_samples(self) -> int:
        return 0 if self.kind == "loopback" else self.config.encoder.hop_samples

    @property
    def lookahead_samples(self) -> int:
        return self.config.encoder.lookahead_samples if self.kind == "model" else 0

    @property
    def parameters(self) -> int:
        """Numbers in the encoder and in every decoder."""
        return sum(a.size for weights in (self.encoder, *self.decoders.values()) for a in weights.values())

    @cached_property
    def encoder_sha256(self) -> str:
        """Same for packs that can share one encoder: a digest of its architecture and weights."""
        digest = hashlib.sha256(repr((self.config.encoder, self.config.mu_law)).encode())
        for name in sorted(self.encoder):
            digest.update(name.encode() + self.encoder[name].tobytes())
        return digest.hexdigest()

    def decoder_name(self, wanted: str | None = None) -> str:
        """The decoder to use: the one asked for, else the first. UserError if there is none of that name."""
        if not wanted:
            return next(iter(self.decoders), "")
        if wanted not in self.decoders:
            there = ", ".join(self.decoders) or "none"
            raise UserError(f"{self.name} has no decoder {wanted!r}; it has: {there}; choose one of these")
        return wanted

    def decoder_config(self, name: str | None = None) -> dict[str, Any]:
        """What the engine's Decoder is built from, for the decoder of that name (all share one architecture)."""
        self.decoder_name(name)
        d, e = self.config.decoder, self.config.encoder
        return {
            "blocks": d.blocks,
            "layers": d.layers,
            "residual_channels": d.residual_channels,
            "skip_channels": d.skip_channels,
            "kernel_size": d.kernel_size,
            "classes": d.classes,
            "latent_channels": e.latent_channels,
            "hop_samples": e.hop_samples,
            "mu_law": self.config.mu_law,
        }


# --- shapes -------------------------------------------------------------------------------------------------------


def encoder_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `models.Encoder(config).state_dict()`."""
    c, k = config.channels, config.kernel_size
    shapes: dict[str, tuple[int, ...]] = {"input.weight": (c, 1, k), "input.bias": (c,)}
    for i in range(len(config.dilations)):
        shapes[f"layers.{i}.dilated.weight"] = (c, c, k)
        shapes[f"layers.{i}.dilated.bias"] = (c,)
        shapes[f"layers.{i}.mix.weight"] = (c, c, 1)
        shapes[f"layers.{i}.mix.bias"] = (c,)
    shapes["latent.weight"] = (config.latent_channels, c, 1)
    shapes["latent.bias"] = (config.latent_channels,)
    return shapes


def decoder_shapes(config: DecoderConfig, latent_channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `models.Decoder(config, latent_channels, ...).state_dict()`."""
    r, s, k = config.residual_channels, config.skip_channels, config.kernel_size
    convolutions: dict[str, tuple[int, int, int]] = {"input": (r, 1, k), "input_skip": (s, r, 1)}
    for i in range(len(config.dilations)):
        convolutions[f"layers.{i}.dilated"] = (2 * r, r, k)
        convolutions[f"layers.{i}.latent"] = (2 * r, latent_channels, 1)
        convolutions[f"layers.{i}.residual"] = (r, r, 1)
        convolutions[f"layers.{i}.skip"] = (s, r, 1)
    convolutions["output"] = (s, s, 1)
    convolutions["output_latent"] = (s, latent_channels, 1)
    convolutions["logits"] = (config.classes, s, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in convolutions.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]
    return shapes


# --- finding ------------------------------------------------------------------------------------------------------


def user_data_folder() -> Path:
    """Where a user keeps packs of their own."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "rtserver" / "models"


def search_folders() -> list[Path]:
    """Where a name is looked up, in order: the working folder, the user's packs, the shipped packs."""
    package = Path(__file__).resolve().parent
    return [Path.cwd(), user_data_folder(), package / "weights", package.parent / "models" / "weights"]


def find(path_or_name: str | os.PathLike[str]) -> Path:
    """The file meant by a path, or by a name with or without `.pt`. UserError if there is none."""
    text = os.fspath(path_or_name)
    if not text or "\0" in text:
        raise UserError("no model file is named; give a path or the name of a pack, such as piano.pt")
    given = Path(text).expanduser()
    if given.is_file():
        return given
    if given.is_dir():
        raise UserError(f"{text} is a folder, not a model file; give the path of a .pt file")
    if given.name == text:
        for folder in search_folders():
            for name in (text, f"{text}.pt"):
                if (folder / name).is_file():
                    return folder / name
        raise UserError(
            f"model {text} not found in the working folder, in {user_data_folder()} or among the shipped packs"
            f" ({', '.join(shipped()) or 'none'}); give a path, or put the file in one of these"
        )
    raise UserError(f"model file {text} does not exist; check the path, or give the name of a shipped pack")


def shipped() -> list[str]:
    """Names of the packs that a bare name finds, without `.pt`, first found first."""
    names: dict[str, None] = {}
    for folder in search_folders()[1:]:
        if folder.is_dir():
            names.update(dict.fromkeys(p.stem for p in sorted(folder.glob("*.pt"))))
    return list(names)


# --- reading ------------------------------------------------------------------------------------------------------


def load(path_or_name: str | os.PathLike[str]) -> Model:
    """Read and check a pack, or give a built-in probe. UserError says what is wrong with it."""
    text = os.fspath(path_or_name)
    if text in PROBES:
        return _probe(cast(ModelKind, text))
    path = find(path_or_name)
    data = _read_bytes(path)
    content = unpickle_safely(data, path)
    config, encoder, decoders = _check(content, path)
    return Model(
        path=path,
        name=path.stem,
        config=config,
        encoder=encoder,
        decoders=decoders,
        card=_plain(content.get("card", {}), f"{path}: card"),
        calibration=_calibration(content.get("calibration", {}), path),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _probe(name: ModelKind) -> Model:
    config = ModelConfig(preset=name)
    config = replace(config, encoder=replace(config.encoder, hop_samples=160))
    return Model(None, name, config, {}, {}, {}, hashlib.sha256(name.encode()).hexdigest(), kind=name)


def _read_bytes(path: Path, limit: int | None = None) -> bytes:
    limit = MAX_FILE_BYTES if limit is None else limit
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


def unpickle_safely(data: bytes, path: Path, allow: tuple[type, ...] = ()) -> Any:
    """`torch.load(weights_only=True)` of a zip archive's bytes, bounded; `allow` names further harmless classes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            broken = archive.testzip() if unpacked <= MAX_FILE_BYTES else None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError):
        if data[:2] == b"PK":
            raise UserError(f"{path} is truncated or damaged; copy or download the file again") from None
        raise UserError(
            f"{path} is not an instrument pack: expected a torch.save archive of format {FORMAT}, found"
            f" {_looks_like(data)}; make a pack with training's export or `rtserver import-checkpoint`"
        ) from None
    if unpacked > MAX_FILE_BYTES:
        raise UserError(f"{path} unpacks to more than the limit of {MAX_FILE_BYTES >> 20} MiB: refused")
    if broken is not None:
        raise UserError(f"{path} is damaged (checksum of {broken} is wrong); copy or download the file again")
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise UserError(f"{path} is a zip archive but not one of torch.save; expected an instrument pack ({FORMAT})")
    torch = _torch()
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
        raise UserError(f"{path} can't be unpacked ({_first_line(error)}); copy or download the file again") from None


def _torch() -> Any:
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


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


# --- checking -----------------------------------------------------------------------------------------------------


def _check(content: Any, path: Path) -> tuple[ModelConfig, Weights, dict[str, Weights]]:
    if not isinstance(content, dict) or "format" not in content:
        hint = ""
        if isinstance(content, dict) and "encoder_state" in content:
            hint = "; it looks like a music-translation checkpoint: use `rtserver import-checkpoint`"
        raise UserError(f"{path} is not an instrument pack: expected the field `format` = {FORMAT!r}, found none{hint}")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path} has format {str(content['format'])[:60]!r}, expected {FORMAT!r};"
            " update rtserver, or export the pack again"
        )
    unknown = [str(name)[:40] for name in content if name not in _FIELDS]
    if unknown:
        raise UserError(f"{path} has unknown fields: {', '.join(unknown[:5])}; expected {', '.join(_FIELDS)}")
    for name in ("config", "encoder", "decoders"):
        if not isinstance(content.get(name), dict):
            found = type(content[name]).__name__ if name in content else "nothing"
            raise UserError(f"{path}: field `{name}` must be a dictionary, found {found}; export the pack again")
    config = _check_config(content["config"], path)
    decoders = content["decoders"]
    if not decoders or len(decoders) > 64:
        raise UserError(f"{path} has {len(decoders)} decoders, expected 1 to 64")
    encoder = _check_weights(content["encoder"], encoder_shapes(config.encoder), f"{path}: encoder")
    shapes = decoder_shapes(config.decoder, config.encoder.latent_channels)
    checked: dict[str, Weights] = {}
    for name, weights in decoders.items():
        if not isinstance(name, str) or not _DECODER_NAME.fullmatch(name):
            raise UserError(f"{path}: decoder name {str(name)[:60]!r} is not 1 to 64 letters, digits, spaces, . _ + -")
        checked[name] = _check_weights(weights, shapes, f"{path}: decoder {name}")
    return config, encoder, checked


def _check_config(values: Any, path: Path) -> ModelConfig:
    try:
        config = ModelConfig.from_dict(values)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: bad config ({_first_line(error)}); update rtserver, or export again") from None
    for part, record in (("encoder", config.encoder), ("decoder", config.decoder)):
        for name, value in vars(record).items():
            if name in ("causal", "pre_activation"):
                if not isinstance(value, bool):
                    raise UserError(f"{path}: config {part}.{name} must be true or false, found {str(value)[:40]}")
                continue
            low, high = _LIMITS[name]
            if type(value) is not int or not low <= value <= high:
                expected = str(low) if low == high else f"a whole number {low} to {high}"
                raise UserError(f"{path}: config {part}.{name} must be {expected}, found {str(value)[:40]}")
    if config.decoder.kernel_size != 2:
        raise UserError(f"{path}: config decoder.kernel_size must be 2, found {config.decoder.kernel_size}")
    if not config.encoder.causal and config.encoder.kernel_size % 2 == 0:
        raise UserError(f"{path}: a symmetric encoder needs an odd kernel_size, found {config.encoder.kernel_size}")
    if type(config.sample_rate_hz) is not int or config.sample_rate_hz != 16000:
        raise UserError(f"{path}: config sample_rate_hz must be 16000, found {str(config.sample_rate_hz)[:40]}")
    if config.mu_law not in ("rounded", "published"):
        raise UserError(f"{path}: config mu_law must be rounded or published, found {str(config.mu_law)[:40]!r}")
    if not isinstance(config.preset, str) or not 1 <= len(config.preset) <= 64:
        raise UserError(f"{path}: config preset must be a name of at most 64 characters")
    return config


def _check_weights(weights: Any, shapes: dict[str, tuple[int, ...]], what: str) -> Weights:
    if not isinstance(weights, Mapping):
        raise UserError(f"{what} must be a dictionary of tensors, found {type(weights).__name__}")
    missing = [name for name in shapes if name not in weights]
    extra = [str(name)[:60] for name in weights if name not in shapes]
    if missing or extra:
        parts = [f"missing: {', '.join(missing[:3])}" + (", ..." if len(missing) > 3 else "")] if missing else []
        parts += [f"not expected: {', '.join(extra[:3])}" + (", ..." if len(extra) > 3 else "")] if extra else []
        raise UserError(f"{what} does not fit its config: {'; '.join(parts)}; export the pack again")
    return {name: _array(weights[name], shape, f"{what} {name}") for name, shape in shapes.items()}


def _array(tensor: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A float32 copy of a torch tensor or numpy array, once its kind, shape and values are as they should be."""
    if isinstance(tensor, np.ndarray):
        kind, found = str(tensor.dtype), tensor.shape
    else:
        layout, device = getattr(tensor, "layout", None), getattr(tensor, "device", None)
        if str(layout) != "torch.strided" or device is None or device.type == "meta":
            raise UserError(f"{what} must be a dense tensor, found {type(tensor).__name__}")
        kind, found = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    if kind not in ("float32", "float16", "bfloat16"):
        raise UserError(f"{what} must hold float32 or float16 numbers, found {kind}")
    if found != shape:
        raise UserError(f"{what} has shape {_shape(found)}, expected {_shape(shape)}")
    if not isinstance(tensor, np.ndarray):
        tensor = tensor.detach().cpu().float().numpy()
    array = np.array(tensor, dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        raise UserError(f"{what} holds NaN or infinite numbers; export the pack again from a sound checkpoint")
    return array


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"


def _plain(value: Any, what: str) -> dict[str, Any]:
    """A card: nested dictionaries and lists of text, numbers, booleans and nothing, of bounded size."""
    if not isinstance(value, dict):
        raise UserError(f"{what} must be a dictionary, found {type(value).__name__}")
    left = MAX_CARD_BYTES

    def walk(item: Any, depth: int) -> Any:
        nonlocal left
        left -= 16 + (len(item) if isinstance(item, str) else 0)
        if depth > 16 or left < 0:
            raise UserError(f"{what} is larger or deeper than a card may be ({MAX_CARD_BYTES >> 20} MiB, 16 levels)")
        if isinstance(item, dict) and all(isinstance(key, str) for key in item):
            return {walk(key, depth + 1): walk(entry, depth + 1) for key, entry in item.items()}
        if isinstance(item, (list, tuple)):
            return [walk(entry, depth + 1) for entry in item]
        if isinstance(item, float) and not math.isfinite(item):
            return None
        if item is None or isinstance(item, (str, bool, int, float)):
            return item
        raise UserError(f"{what} may hold text, numbers, lists and dictionaries only, found {type(item).__name__}")

    return cast(dict[str, Any], walk(value, 0))


def _calibration(value: Any, path: Path) -> dict[str, Any]:
    """Scales for quantised kernels, by tensor name; empty in packs that are run in float32."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path}: field `calibration` must be a dictionary by name, found {type(value).__name__}")
    plain = {key: entry for key, entry in value.items() if not hasattr(entry, "shape")}
    scales = {
        key: _array(t, tuple(t.shape), f"{path}: calibration {key}") for key, t in value.items() if key not in plain
    }
    return {**_plain(plain, f"{path}: calibration"), **scales}


# --- writing ------------------------------------------------------------------------------------------------------


def save(
    path: str | os.PathLike[str],
    config: ModelConfig,
    encoder: Mapping[str, Any],
    decoders: Mapping[str, Mapping[str, Any]],
    card: Mapping[str, Any] | None = None,
    *,
    calibration: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a pack; what `load` would refuse is refused here too. The file appears whole or not at all.

    encoder, decoders[name]: tensors (numpy or torch) by the names of `models.Encoder` and `models.Decoder`.
    half: keep weights as float16 on disk, at half the size; they are loaded as float32 of the rounded values.
    """
    path = Path(path)
    torch = _torch()
    content = {"format": FORMAT, "config": config.to_dict(), "encoder": encoder, "decoders": decoders}
    _, checked_encoder, checked_decoders = _check(content, path)
    groups = {"encoder": checked_encoder, **{f"decoder {name}": w for name, w in checked_decoders.items()}}
    if half:
        for group, weights in groups.items():
            for name, array in weights.items():
                if np.abs(array).max(initial=0.0) > np.finfo(np.float16).max:
                    raise UserError(f"{path}: {group} {name} is too large for float16; save it as float32")

    def tensors(weights: Weights) -> dict[str, Any]:
        return {name: torch.from_numpy(a.astype(np.float16) if half else a) for name, a in weights.items()}

    content["encoder"] = tensors(checked_encoder)
    content["decoders"] = {name: tensors(weights) for name, weights in checked_decoders.items()}
    scales = _calibration(dict(calibration or {}), path)
    content["calibration"] = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in scales.items()}
    content["card"] = _plain(dict(card or {}), f"{path}: card")
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, partial)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}; check the folder and its permissions") from None
    finally:
        partial.unlink(missing_ok=True)
