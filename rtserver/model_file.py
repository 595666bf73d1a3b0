"""Instrument packs (`.pt`): finding, reading, checking and writing them.

A pack is a `torch.save` of {"format", "config", "encoder", "decoders", "calibration", "card"}. Whatever is read is
taken for hostile until checked: only tensors and plain values are unpickled (`weights_only`), sizes are bounded before
anything is allocated, and every tensor must have the name, the shape and the finite values that the config asks for.
Only the control process and the tools read packs; the audio worker gets plain arrays.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from rtserver.errors import UserError
from rtserver.model_check import FORMAT, Weights, check_calibration, check_content, plain_values
from rtserver.model_config import ModelConfig
from rtserver.safe_load import import_torch, read_bytes, unpickle_safely

PROBES = ("loopback", "identity16k")

ModelKind = Literal["model", "loopback", "identity16k"]


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
        """Same for packs that can share one encoder: a digest of its architecture, weights and calibration."""
        digest = hashlib.sha256(repr((self.config.encoder, self.config.input_encoding)).encode())
        for name in sorted(self.encoder):
            digest.update(name.encode() + self.encoder[name].tobytes())
        for name, ranges in sorted(self.calibration.get("encoder", {}).items()):
            digest.update(name.encode() + ranges.tobytes())
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
            "prediction_order": d.prediction_order,
            "latent_channels": e.latent_channels,
            "hop_samples": e.hop_samples,
            "mu_law": self.config.mu_law,
            "emphasis": self.config.emphasis,
        }


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
    data = read_bytes(path)
    content = unpickle_safely(data, path)
    config, encoder, decoders = check_content(content, path)
    return Model(
        path=path,
        name=path.stem,
        config=config,
        encoder=encoder,
        decoders=decoders,
        card=plain_values(content.get("card", {}), f"{path}: card"),
        calibration=check_calibration(content.get("calibration", {}), path, config, decoders),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _probe(name: ModelKind) -> Model:
    config = ModelConfig(preset=name)
    config = replace(config, encoder=replace(config.encoder, hop_samples=160))
    return Model(None, name, config, {}, {}, {}, hashlib.sha256(name.encode()).hexdigest(), kind=name)


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
    torch = import_torch()
    content = {"format": FORMAT, "config": config.to_dict(), "encoder": encoder, "decoders": decoders}
    checked_config, checked_encoder, checked_decoders = check_content(content, path)
    groups = {"encoder": checked_encoder, **{f"decoder {name}": w for name, w in checked_decoders.items()}}
    if half:
        for group, weights in groups.items():
            for name, array in weights.items():
                if np.abs(array).max(initial=0.0) > np.finfo(np.float16).max:
                    raise UserError(f"{path}: {group} {name} is too large for float16; save it as float32")

    def tensors(weights: Weights) -> dict[str, Any]:
        return {n: torch.from_numpy(np.array(a, np.float16 if half else np.float32)) for n, a in weights.items()}

    content["encoder"] = tensors(checked_encoder)
    content["decoders"] = {name: tensors(weights) for name, weights in checked_decoders.items()}
    checked = check_calibration(dict(calibration or {}), path, checked_config, checked_decoders)
    content["calibration"] = _each_array(checked, torch.from_numpy)
    content["card"] = plain_values(dict(card or {}), f"{path}: card")
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, partial)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}; check the folder and its permissions") from None
    finally:
        partial.unlink(missing_ok=True)


def _each_array(value: Any, change: Callable[[np.ndarray], Any]) -> Any:
    """Nested dictionaries with every array in them changed."""
    if isinstance(value, dict):
        return {name: _each_array(entry, change) for name, entry in value.items()}
    return change(value) if isinstance(value, np.ndarray) else value
