"""Checkpoints of the official music-translation code, taken over into packs.

An experiment's folder holds `args.pth`, a list of an argparse Namespace and the epoch, and one file a domain,
`lastmodel_N.pth` or `bestmodel_N.pth`, with the state of the encoder (the same in all of one epoch), of the domain's
decoder, of the discriminator and of the optimisers. Our networks are the published ones up to the names of their
tensors, so an import renames and checks; nothing is computed.
"""

from __future__ import annotations

import hashlib
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from torch import Tensor

from rtserver.errors import UserError
from rtserver.model_check import decoder_shapes, encoder_shapes
from rtserver.model_config import DecoderConfig, EncoderConfig, ModelConfig
from rtserver.safe_load import read_bytes, unpickle_safely

# What args.pth may name apart from plain values: the Namespace and the data folders in it, as paths of any system.
_ARGS_CLASSES: tuple[Any, ...] = (
    Namespace,
    *(
        (PurePosixPath, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath")
    ),
    *(
        (PureWindowsPath, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name in ("WindowsPath", "PureWindowsPath")
    ),
)

# Our module names, in the order they are tried as a prefix, and the published ones.
_ENCODER_NAMES = (
    (r"input\.", r"start."),
    (r"layers\.(\d+)\.dilated\.", r"dilated_convs.\1.dilated_conv."),
    (r"layers\.(\d+)\.mix\.", r"dilated_convs.\1.conv_1x1."),
    (r"latent\.", r"conv_1x1."),
)
_DECODER_NAMES = (
    (r"input\.", r"first_conv."),
    (r"input_skip\.", r"skip_conv."),
    (r"layers\.(\d+)\.dilated\.", r"layers.\1.causal."),
    (r"layers\.(\d+)\.latent\.", r"layers.\1.condition."),
    (r"layers\.(\d+)\.(residual|skip)\.", r"layers.\1.\2."),
    (r"output\.", r"fc."),
    (r"output_latent\.", r"condition."),
    (r"logits\.", r"logits."),
)


@dataclass(frozen=True)
class Imported:
    """What `rtserver.model_file.save` takes."""

    config: ModelConfig
    encoder: dict[str, Tensor]
    decoders: dict[str, dict[str, Tensor]]
    card: dict[str, Any]


def published_name(name: str, table: Sequence[tuple[str, str]]) -> str:
    """The published name of one of our tensors."""
    for pattern, replacement in table:
        renamed, count = re.subn(rf"^{pattern}", replacement, name)
        if count:
            return renamed
    raise KeyError(name)


def config_of(args: Namespace, path: Path) -> ModelConfig:
    """The architecture that an experiment's arguments ask for. UserError for one that was never published."""

    def number(name: str, default: int | None = None) -> int:
        value = getattr(args, name, default)
        if type(value) is not int:
            raise UserError(f"{path}: argument {name} must be a whole number, found {str(value)[:40]!r}")
        return value

    activation = getattr(args, "encoder_func", "relu")
    if activation != "relu":
        raise UserError(f"{path}: encoder_func is {str(activation)[:40]!r}; only relu, the default, can be imported")
    if number("kernel_size", 2) != 2:
        raise UserError(f"{path}: kernel_size is {number('kernel_size')}; only 2, the default, can be imported")
    return ModelConfig(
        preset="published",
        mu_law="published",
        encoder=EncoderConfig(
            blocks=number("encoder_blocks"),
            layers=number("encoder_layers"),
            channels=number("encoder_channels"),
            causal=False,
            latent_channels=number("latent_d"),
            hop_samples=number("encoder_pool", 800),
        ),
        decoder=DecoderConfig(
            blocks=number("blocks"),
            layers=number("layers"),
            residual_channels=number("residual_channels"),
            skip_channels=number("skip_channels"),
        ),
    )


def read_args(path: Path) -> tuple[Namespace, int | None]:
    """The arguments and the last epoch of `args.pth`."""
    found = unpickle_safely(read_bytes(path), path, _ARGS_CLASSES, legacy=True)
    if not isinstance(found, (list, tuple)) or not found or not isinstance(found[0], Namespace):
        raise UserError(f"{path} is not an args.pth: expected a list that begins with a Namespace")
    epoch = found[-1]
    return found[0], epoch if isinstance(epoch, int) else None


def renamed_state(
    state: Any, shapes: Mapping[str, tuple[int, ...]], table: Sequence[tuple[str, str]], what: str
) -> dict[str, Tensor]:
    """A published state under our names; every tensor accounted for. Shapes are checked when the pack is saved."""
    if not isinstance(state, Mapping):
        raise UserError(f"{what} is missing; expected a file written by music-translation's train.py")
    state = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    names = {name: published_name(name, table) for name in shapes}
    missing = [name for name in names.values() if name not in state]
    extra = sorted(set(state) - set(names.values()))
    if missing or extra:
        parts = [f"missing {missing[0]} and {len(missing) - 1} more"] if missing else []
        parts += [f"not expected {extra[0]} and {len(extra) - 1} more"] if extra else []
        raise UserError(f"{what} does not fit its args.pth: {'; '.join(parts)}; is it of the same experiment?")
    return {name: state[theirs] for name, theirs in names.items()}


def domain_names(args: Namespace, states: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> list[str]:
    """A name for each checkpoint's decoder: its data folder's, else the number in the file's name."""
    folders = getattr(args, "data", None) or []
    names: list[str] = []
    for state, path in zip(states, paths, strict=True):
        rank, name = state.get("dataset"), path.stem
        # A single-process run trains one decoder on every folder in turn: no folder names it.
        named = getattr(args, "distributed", False) or len(folders) == 1
        if named and isinstance(rank, int) and 0 <= rank < len(folders):
            name = PurePosixPath(str(folders[rank])).name
        name = re.sub(r"[^A-Za-z0-9 ._+-]", "_", name)[:60].strip() or path.stem
        names.append(name if name not in names else f"{name} {len(names)}")
    return names


def read_experiment(checkpoints: Sequence[Path], args_path: Path, names: Sequence[str] = ()) -> Imported:
    """Read checkpoints of one experiment. Their encoders must be the same network, to the bit.

    names: of the decoders, one a checkpoint; the data folders' names by default.
    """
    import torch

    args, epoch = read_args(args_path)
    config = config_of(args, args_path)
    if names and len(names) != len(checkpoints):
        raise UserError(f"{len(names)} decoder names for {len(checkpoints)} checkpoints; give one name for each")
    states: list[Mapping[str, Any]] = []
    digests: list[str] = []
    for path in checkpoints:
        data = read_bytes(path)
        state = unpickle_safely(data, path, legacy=True)
        if not isinstance(state, Mapping) or "encoder_state" not in state or "decoder_state" not in state:
            raise UserError(f"{path} is not a music-translation checkpoint: no encoder_state and decoder_state in it")
        # The optimisers' states are twice the size of the rest.
        states.append({key: state.get(key) for key in ("encoder_state", "decoder_state", "dataset")})
        digests.append(hashlib.sha256(data).hexdigest())
    shapes = encoder_shapes(config.encoder)
    encoders = [
        renamed_state(state["encoder_state"], shapes, _ENCODER_NAMES, f"{path}: encoder_state")
        for state, path in zip(states, checkpoints, strict=True)
    ]
    for path, encoder in zip(checkpoints[1:], encoders[1:], strict=True):
        if any(not torch.equal(encoder[name], encoders[0][name]) for name in shapes):
            raise UserError(f"{path} has another encoder than {checkpoints[0]}; import each into a pack of its own")
    shapes = decoder_shapes(config.decoder, config.encoder.latent_channels)
    decoders = {
        name: renamed_state(state["decoder_state"], shapes, _DECODER_NAMES, f"{path}: decoder_state")
        for name, state, path in zip(names or domain_names(args, states, checkpoints), states, checkpoints, strict=True)
    }
    sources = [{"file": path.name, "sha256": digest} for path, digest in zip(checkpoints, digests, strict=True)]
    card = {
        "source": "music-translation checkpoint",
        "checkpoints": sources,
        "experiment": str(getattr(args, "expName", ""))[:200],
        "epoch": epoch,
        "licence": "that of the checkpoint; the official ones are CC BY-NC 4.0",
    }
    return Imported(config, encoders[0], decoders, card)
