"""What a run leaves to go on from: a checkpoint with everything, a compact form that travels, and packs as a start.

A full checkpoint resumes exactly: weights, averaged weights, the moments of both optimizers and the step, from which
all random choices follow (`training/batches.py`). The compact form holds the averaged weights in bfloat16 and nothing
else, in files of at most 16 MB: enough for a warm restart elsewhere, where the moments start anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.decoder import Decoder
from rtserver.model_config import DecoderConfig, ModelConfig
from training.grow import fits, grow
from training.network import TranslationNetwork

FORMAT = 2
PART_BYTES = 15_500_000  # what torch.save adds to the tensors of a part stays well below the rest of 16 MB
INDEX = "compact.json"


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its final place, then rename, so that none is ever half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with open(partial, "wb") as file:
        torch.save({"format": FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A full checkpoint, or the folder of a compact one. ValueError if it isn't one or is damaged."""
    if path.is_dir():
        return read_compact(path)
    state = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(state, dict) or "network" not in state or "step" not in state:
        raise ValueError(f"{path}: not a checkpoint of a training run")
    if state.get("format", 1) > FORMAT:
        raise ValueError(f"{path}: written by a newer version (format {state['format']}, this one reads {FORMAT})")
    return state


def write_compact(folder: Path, state: Mapping[str, Any], model: ModelConfig, part_bytes: int = PART_BYTES) -> int:
    """Leave `compact-NNN.pt` and `compact.json` in a folder; gives the number of files. Older parts there go."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    room = part_bytes
    for name, value in state["average"].items():
        flat = value.detach().to("cpu", torch.bfloat16).reshape(-1)
        at = 0
        while at < len(flat):
            if room < 2:
                parts.append({})
                room = part_bytes
            piece = flat[at : at + room // 2].clone()
            parts[-1][f"{name}@{at}"] = piece
            at += len(piece)
            room -= 2 * len(piece)
    for old in folder.glob("compact-*.pt"):
        old.unlink()
    digests = {}
    for number, part in enumerate(parts):
        path = folder / f"compact-{number:03d}.pt"
        torch.save(part, path)
        digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    index = {
        "format": FORMAT,
        "step": state["step"],
        "model": asdict(model),
        "shapes": {name: list(value.shape) for name, value in state["average"].items()},
        "parts": digests,
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return len(parts) + 1


def read_compact(folder: Path) -> dict[str, Any]:
    """What `write_compact` left, as a checkpoint without moments; ValueError names a part that is lost or damaged."""
    if not (folder / INDEX).is_file():
        raise ValueError(f"{folder}: no {INDEX} there, so this is no compact checkpoint")
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    weights = {name: torch.empty(shape).reshape(-1) for name, shape in index["shapes"].items()}
    filled = dict.fromkeys(weights, 0)
    for name, digest in index["parts"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: missing; a compact checkpoint needs all of its {len(index['parts'])} parts")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{path}: damaged, or of another checkpoint")
        for key, piece in torch.load(path, weights_only=True).items():
            tensor, _, at = key.rpartition("@")
            weights[tensor][int(at) : int(at) + len(piece)] = piece.float()
            filled[tensor] += len(piece)
    if short := [name for name, count in filled.items() if count != weights[name].numel()]:
        raise ValueError(f"{folder}: {short[0]} is incomplete")
    whole = {name: tensor.reshape(index["shapes"][name]) for name, tensor in weights.items()}
    return {"format": FORMAT, "step": index["step"], "model": index["model"], "network": whole, "average": whole}


@dataclass(frozen=True)
class Start:
    """Weights to begin a run with, by the names of `TranslationNetwork`; and the shape of their decoders, if told."""

    weights: dict[str, Tensor]
    decoder: DecoderConfig | None = None


def start_of(path: Path) -> Start:
    """What a pack, a checkpoint or a compact one has to begin a run with; of a checkpoint the averaged weights.

    FileNotFoundError or ValueError if there is nothing of the kind.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no pack or checkpoint there")
    if path.is_file():
        content = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and "encoder" in content and "decoders" in content:
            weights = {f"encoder.{k}": v.float() for k, v in content["encoder"].items()}
            for name, decoder in content["decoders"].items():
                weights |= {f"decoders.{name}.{k}": v.float() for k, v in decoder.items()}
            return Start(weights, ModelConfig.from_dict(content["config"]).decoder)
    state = read(path)
    decoder = ModelConfig.from_dict(state["model"]).decoder if "model" in state else None
    return Start({k: v.float() for k, v in state["average"].items()}, decoder)


def start_from(network: TranslationNetwork, start: Start, copies: Mapping[str, str]) -> list[str]:
    """Fill a network with what fits of other weights, smaller decoders growing into its own (`training/grow.py`).

    copies: decoder -> the decoder of `start` that it begins as. Gives the decoders and heads that stay fresh.
    ValueError if the encoder is of another shape, or a decoder that is named isn't there.
    """
    fresh = []
    for group, module in network.named_children():
        if not isinstance(module, nn.ModuleDict):
            weights = _below(start.weights, f"{group}.")
            lacking = _fill(module, weights)
            if lacking and group == "encoder":
                there = f"of shape {list(weights[lacking[0]].shape)}" if lacking[0] in weights else "missing"
                wanted = f"{group}.{lacking[0]} of shape {list(module.state_dict()[lacking[0]].shape)}"
                raise ValueError(f"start: expected {wanted}, found it {there}")
            fresh += [group] if lacking else []
            continue
        for name, decoder in module.items():
            source = copies.get(name, name)
            weights = _below(start.weights, f"{group}.{source}.")
            if name in copies and not weights:
                raise ValueError(f"start_decoders.{name}: there is no decoder {source!r} to start from")
            if start.decoder and start.decoder.prediction_order != network.config.decoder.prediction_order:
                weights = {k: v for k, v in weights.items() if not k.startswith("logits.")}  # of other classes
            other = start.decoder if weights and start.decoder != network.config.decoder else None
            if other and fits(other, network.config.decoder):
                grow(cast(Decoder, decoder), weights, other)
            elif _fill(decoder, weights):
                fresh.append(f"{group}.{name}")
    return fresh


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}


def _fill(module: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load what has the shape of the module's own; gives the names of those that stay as they are."""
    state = module.state_dict()
    found = {name: weights[name] for name in state if name in weights and weights[name].shape == state[name].shape}
    module.load_state_dict(found, strict=False)
    return [name for name in state if name not in found]
