"""The arithmetic of the networks: which precisions there are, what `auto` means, and decoders made with one of them.

Only the decoder's and the encoder's weights and activations are meant; what surrounds them is float32 always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtserver.errors import UserError

if TYPE_CHECKING:
    from rtserver import _engine
    from rtserver.model_check import Weights
    from rtserver.model_file import Model

CHOICES = ("auto", "int8", "bf16", "fp32")
METAVAR = "|".join(CHOICES)


def available() -> tuple[str, ...]:
    """What the engine has on this machine, fastest first."""
    from rtserver import _engine

    return tuple(name for name in CHOICES if name in _engine.PRECISIONS)


def resolve(asked: str = "auto") -> str:
    """The precision to run: `auto` is int8 where the engine has it, else fp32. UserError lists what there is."""
    there = available()
    if asked == "auto":
        return "int8" if "int8" in there else "fp32"
    if asked not in CHOICES:
        raise UserError(f"there is no precision {asked!r}; choose one of {', '.join(('auto', *there))}")
    if asked not in there:
        raise UserError(f"this engine has no precision {asked}; choose one of {', '.join(('auto', *there))}")
    return asked


def decoder(config: dict[str, Any], weights: Weights, precision: str, ranges: Any = None) -> _engine.Decoder:
    """An engine decoder. precision: one that `resolve` gave. ranges: float32 [layers, R], for int8 only.

    Raises ValueError naming what was expected and what was found.
    """
    from rtserver import _engine

    return _engine.Decoder(config, weights, precision=precision, calibration=ranges if precision == "int8" else None)


def calibration_for(model: Model, precision: str) -> dict[str, Any]:
    """What quantising a pack needs: its own `calibration`, or what it lacks of one made now (slow)."""
    if precision != "int8" or model.kind != "model" or is_complete(model.calibration):
        return model.calibration
    from rtserver import calibration

    return calibration.for_pack(model)


def is_complete(calibration: dict[str, Any]) -> bool:
    """Whether there is all that int8 needs to know, of the decoders and of the encoder."""
    return bool(calibration.get("decoders")) and bool(calibration.get("encoder"))


def encoder_ranges(calibration: dict[str, Any]) -> dict[str, Any]:
    """What `_engine.Encoder.ranges` measured, float32 [layers, C] by name; empty where that is not known."""
    ranges: dict[str, Any] = calibration.get("encoder", {})
    return ranges


def decoder_ranges(calibration: dict[str, Any], name: str) -> Any:
    """float32 [layers, R], the greatest |input| of a decoder's channels; None where that is not known."""
    return calibration.get("decoders", {}).get(name)
