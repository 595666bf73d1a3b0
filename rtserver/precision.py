"""The arithmetic of the networks: which precisions there are, what `auto` means, and decoders made with one of them.

Only the decoder's and the encoder's weights and activations are meant; what surrounds them is float32 always, and so is
an encoder behind a filter bank. In `int4` the weights of 4 bits are those of the decoder's current taps and 1x1
products; all else is int8, and the encoder too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtserver.errors import UserError

if TYPE_CHECKING:
    from rtserver import _engine
    from rtserver.model_check import Weights
    from rtserver.model_config import DecoderConfig
    from rtserver.model_file import Model

CHOICES = ("auto", "int4", "int8", "bf16", "fp32")
METAVAR = "|".join(CHOICES)
# `auto` takes 4 bits for decoders whose int8 weights are larger. A second-level cache holds 1 to 2 MiB on most
# processors of today, and a network that lies within it waits for arithmetic, not for weights.
LARGE_BYTES = 1 << 20
QUANTISED = ("int4", "int8")


def available() -> tuple[str, ...]:
    """What the engine has on this machine, fastest first."""
    from rtserver import _engine

    return tuple(name for name in CHOICES if name in _engine.PRECISIONS)


def check(asked: str) -> str:
    """`asked`, if it is `auto` or something that the engine has. UserError lists what there is."""
    there = available()
    if asked == "auto" or asked in there:
        return asked
    unknown = "there is no precision" if asked not in CHOICES else "this engine has no precision"
    name = repr(asked) if asked not in CHOICES else asked
    raise UserError(f"{unknown} {name}; choose one of {', '.join(('auto', *there))}")


def resolve(asked: str = "auto", model: Model | None = None) -> str:
    """The precision to run a model in, or any model. UserError as in `check`.

    `auto` is int4 for a pack that brings its codes and has large decoders, else int8 where the engine has it, else
    fp32. Codes that were made when the pack was loaded don't count: what is cached must not change what is played.
    """
    if check(asked) != "auto":
        return asked
    there = available()
    if "int4" in there and model is not None and model.kind == "model":
        brings = bool(model.calibration.get("codes")) and not model.calibration.get("codes_made_at_load")
        if brings and int8_bytes(model.config.decoder) > LARGE_BYTES:
            return "int4"
    return "int8" if "int8" in there else "fp32"


def int8_bytes(config: DecoderConfig) -> int:
    """Bytes of weights in int8 that a sample of a decoder reads."""
    r, s = config.residual_channels, config.skip_channels
    return len(config.dilations) * (4 * r * r + r * r + s * r) + s * s + config.classes * s


def on_gpu(precision: str) -> str:
    """What a GPU's decoder runs in, for a precision as `check` gives it: it has no 4 bits, and weights alone have 8."""
    return {"auto": "fp16", "int4": "int8"}.get(precision, precision)


def of_encoder(precision: str) -> str:
    """What the encoder runs in, for a precision that `resolve` gave: it has no 4 bits."""
    return "int8" if precision == "int4" else precision


def decoder(
    config: dict[str, Any], weights: Weights, precision: str, ranges: Any = None, codes: Weights | None = None
) -> _engine.Decoder:
    """An engine decoder. precision: one that `resolve` gave. ranges: float32 [layers, R], for int8 and int4 only.

    codes: what `rtserver.quantise` gives, for int4 only. Raises ValueError naming what was expected and what was found.
    """
    from rtserver import _engine

    known: dict[str, Any] = {"calibration": ranges} if precision in QUANTISED else {}
    if precision == "int4":
        known["codes"] = codes
    return _engine.Decoder(config, weights, precision=precision, **known)


def calibration_for(model: Model, precision: str) -> dict[str, Any]:
    """What quantising a pack needs: its own `calibration`, or what it lacks of one made now (slow)."""
    resolved = resolve(precision, model)
    if model.kind != "model" or is_complete(model, resolved):
        return model.calibration
    from rtserver import calibration

    return calibration.for_pack(model, codes=resolved == "int4")


def is_complete(model: Model, precision: str = "int8") -> bool:
    """Whether a pack's calibration says all that a precision needs to know, of the decoders and of the encoder."""
    from rtserver.model_check import encoder_range_shapes

    if precision not in QUANTISED:
        return True
    calibration = model.calibration
    known = bool(calibration.get("decoders"))
    if encoder_range_shapes(model.config.encoder):
        known = known and bool(calibration.get("encoder"))
    return known and (precision != "int4" or bool(calibration.get("codes")))


def encoder_ranges(calibration: dict[str, Any]) -> dict[str, Any]:
    """What `_engine.Encoder.ranges` measured, float32 [layers, C] by name; empty where that is not known."""
    ranges: dict[str, Any] = calibration.get("encoder", {})
    return ranges


def decoder_ranges(calibration: dict[str, Any], name: str) -> Any:
    """float32 [layers, R], the greatest |input| of a decoder's channels; None where that is not known."""
    return calibration.get("decoders", {}).get(name)


def decoder_codes(calibration: dict[str, Any], name: str) -> Weights | None:
    """A decoder's weights in 4 bits (`rtserver.model_check.code_shapes`); None where there are none."""
    codes: Weights | None = calibration.get("codes", {}).get(name)
    return codes
