"""What a pack must hold: a config within bounds, and every tensor with the name, shape and finite values it needs."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from rtserver.errors import UserError
from rtserver.model_config import SAMPLE_RATE_HZ, ConstantQConfig, DecoderConfig, EncoderConfig, ModelConfig
from rtserver.safe_load import first_line

FORMAT = "rtserver-model-1"
MAX_CARD_BYTES = 1 << 20
CALIBRATION_VERSION = 1
LEAST_CODE, GREATEST_CODE = -8, 7  # of weights in 4 bits

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
    "prediction_order": (0, 1024),
    "latent_channels": (1, 1024),
    "hop_samples": (16, 16000),
}
_FRONT_END_LIMITS: dict[str, tuple[int, int]] = {
    "lowest_note": (12, 120),
    "octaves": (1, 9),
    "bins_per_octave": (1, 96),
    "periods": (1, 1024),
    "window_samples": (16, 16384),
}
MAX_FRONT_END_VALUES = 1 << 22  # bins times window_samples
MAX_EMPHASIS = 0.95
_FIELDS = ("format", "config", "encoder", "decoders", "calibration", "card")
_DECODER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")


def encoder_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `models.Encoder(config).state_dict()`."""
    c, k = config.channels, config.kernel_size
    shapes: dict[str, tuple[int, ...]] = {"input.weight": (c, config.inputs, k), "input.bias": (c,)}
    for i in range(len(config.dilations)):
        shapes[f"layers.{i}.dilated.weight"] = (c, c, k)
        shapes[f"layers.{i}.dilated.bias"] = (c,)
        shapes[f"layers.{i}.mix.weight"] = (c, c, 1)
        shapes[f"layers.{i}.mix.bias"] = (c,)
    shapes["latent.weight"] = (config.latent_channels, c, 1)
    shapes["latent.bias"] = (config.latent_channels,)
    return shapes


def encoder_range_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what calibrates an encoder; see `_engine.Encoder.ranges`. None behind a filter bank."""
    if config.front_end is not None:
        return {}
    shape = (len(config.dilations), config.channels)
    return {"input": shape} if config.pre_activation else {"input": shape, "hidden": shape}


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


def code_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a decoder's weights in 4 bits: codes by the names of matrices, and `_scale`s of their rows.

    `now`: the current tap of the dilated convolutions, gates first; see `rtserver.quantise`.
    """
    layers, r, s = len(config.dilations), config.residual_channels, config.skip_channels
    shapes: dict[str, tuple[int, ...]] = {}
    for name, rows in (("now", 2 * r), ("residual", r), ("skip", s)):
        shapes |= {name: (layers, rows, r), f"{name}_scale": (layers, rows)}
    return shapes


def check_content(content: Any, path: Path) -> tuple[ModelConfig, Weights, dict[str, Weights]]:
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
        raise UserError(f"{path}: bad config ({first_line(error)}); update rtserver, or export again") from None
    for part, record in (("encoder", config.encoder), ("decoder", config.decoder)):
        for name, value in vars(record).items():
            if name in ("causal", "pre_activation"):
                if not isinstance(value, bool):
                    raise UserError(f"{path}: config {part}.{name} must be true or false, found {str(value)[:40]}")
                continue
            if name != "front_end":
                _check_limits(f"{path}: config {part}.{name}", value, *_LIMITS[name])
    if config.encoder.front_end is not None:
        _check_front_end(config.encoder, config.encoder.front_end, path)
    if config.decoder.kernel_size != 2:
        raise UserError(f"{path}: config decoder.kernel_size must be 2, found {config.decoder.kernel_size}")
    if not config.encoder.causal and config.encoder.kernel_size % 2 == 0:
        raise UserError(f"{path}: a symmetric encoder needs an odd kernel_size, found {config.encoder.kernel_size}")
    if type(config.sample_rate_hz) is not int or config.sample_rate_hz != 16000:
        raise UserError(f"{path}: config sample_rate_hz must be 16000, found {str(config.sample_rate_hz)[:40]}")
    if config.mu_law not in ("rounded", "published"):
        raise UserError(f"{path}: config mu_law must be rounded or published, found {str(config.mu_law)[:40]!r}")
    if config.decoder.prediction_order and config.mu_law != "rounded":
        raise UserError(f"{path}: config mu_law must be rounded with a decoder.prediction_order, found {config.mu_law}")
    a = config.emphasis
    if isinstance(a, bool) or not isinstance(a, (int, float)) or not 0.0 <= a <= MAX_EMPHASIS:
        raise UserError(f"{path}: config emphasis must be a number 0 to {MAX_EMPHASIS}, found {str(a)[:40]}")
    if not isinstance(config.preset, str) or not 1 <= len(config.preset) <= 64:
        raise UserError(f"{path}: config preset must be a name of at most 64 characters")
    return config


def _check_limits(what: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        expected = str(low) if low == high else f"a whole number {low} to {high}"
        raise UserError(f"{what} must be {expected}, found {str(value)[:40]}")


def _check_front_end(encoder: EncoderConfig, front_end: ConstantQConfig, path: Path) -> None:
    what = f"{path}: config encoder.front_end"
    for name, value in vars(front_end).items():
        _check_limits(f"{what}.{name}", value, *_FRONT_END_LIMITS[name])
    if front_end.window_samples < encoder.hop_samples:
        raise UserError(
            f"{what}.window_samples must be at least a hop ({encoder.hop_samples}), found {front_end.window_samples}"
        )
    if front_end.bins * front_end.window_samples > MAX_FRONT_END_VALUES:
        found = f"{front_end.bins} bins of {front_end.window_samples} samples"
        raise UserError(f"{what} must have at most {MAX_FRONT_END_VALUES} bins times window_samples, found {found}")
    if front_end.highest_hz >= SAMPLE_RATE_HZ / 2:
        raise UserError(
            f"{what} must end below {SAMPLE_RATE_HZ // 2} Hz, found {front_end.highest_hz:.0f}; fewer octaves"
            " or a lower lowest_note"
        )
    if not encoder.causal:
        raise UserError(f"{path}: an encoder behind a front_end must be causal, found a symmetric one")


def _check_weights(
    weights: Any, shapes: dict[str, tuple[int, ...]], what: str, bytes_: Collection[str] = ()
) -> Weights:
    """The arrays of these names and shapes, float32 but for those named in `bytes_`, which are int8."""
    if not isinstance(weights, Mapping):
        raise UserError(f"{what} must be a dictionary of tensors, found {type(weights).__name__}")
    missing = [name for name in shapes if name not in weights]
    extra = [str(name)[:60] for name in weights if name not in shapes]
    if missing or extra:
        parts = [f"missing: {', '.join(missing[:3])}" + (", ..." if len(missing) > 3 else "")] if missing else []
        parts += [f"not expected: {', '.join(extra[:3])}" + (", ..." if len(extra) > 3 else "")] if extra else []
        raise UserError(f"{what} does not fit its config: {'; '.join(parts)}; export the pack again")
    arrays: Weights = {}
    for name, shape in shapes.items():
        arrays[name] = _array(weights[name], shape, f"{what} {name}", np.int8 if name in bytes_ else np.float32)
    return arrays


def _array(tensor: Any, shape: tuple[int, ...], what: str, dtype: type[np.generic] = np.float32) -> np.ndarray:
    """A torch tensor (copied) or numpy array as float32 or int8, once its kind, shape and values are as they should."""
    if isinstance(tensor, np.ndarray):
        kind, found = str(tensor.dtype), tensor.shape
    else:
        layout, device = getattr(tensor, "layout", None), getattr(tensor, "device", None)
        if str(layout) != "torch.strided" or device is None or device.type == "meta":
            raise UserError(f"{what} must be a dense tensor, found {type(tensor).__name__}")
        kind, found = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    if dtype is np.int8 and kind != "int8":
        raise UserError(f"{what} must hold int8 numbers, found {kind}")
    if dtype is not np.int8 and kind not in ("float32", "float16", "bfloat16"):
        raise UserError(f"{what} must hold float32 or float16 numbers, found {kind}")
    if found != shape:
        raise UserError(f"{what} has shape {_shape(found)}, expected {_shape(shape)}")
    if isinstance(tensor, np.ndarray):
        array = np.ascontiguousarray(tensor, dtype)
    else:
        dense = tensor.detach().cpu()
        array = np.array((dense if dtype is np.int8 else dense.float()).numpy(), order="C")
    if not np.isfinite(array).all():
        raise UserError(f"{what} holds NaN or infinite numbers; export the pack again from a sound checkpoint")
    return array


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"


def plain_values(value: Any, what: str) -> dict[str, Any]:
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


def check_calibration(value: Any, path: Path, config: ModelConfig, decoders: Collection[str]) -> dict[str, Any]:
    """What quantising the weights needs to know of the activations; empty in packs that don't say.

    {"version": 1, "decoders": {name: float32 [layers, R]}, "encoder": {name: float32 [layers, C]}, "source": text}: the
    greatest |input| of each residual channel of each layer of each decoder, and what `_engine.Encoder.ranges` gives or
    nothing, measured in float32 on the audio of `source`. It may hold "codes" besides: by decoder, the weights in
    4 bits that belong to these ranges, by the names of `code_shapes`, int8 and float32; and "codes_made_at_load", true
    where they don't come with the pack.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path}: field `calibration` must be a dictionary by name, found {type(value).__name__}")
    if not value:
        return {}
    what = f"{path}: calibration"
    if type(value.get("version")) is not int or value["version"] != CALIBRATION_VERSION:
        found = str(value.get("version"))[:40]
        raise UserError(f"{what} has version {found}, expected {CALIBRATION_VERSION}; update rtserver, or export again")
    if set(value) - {"version", "decoders", "encoder", "source", "codes", "codes_made_at_load"}:
        raise UserError(f"{what} may hold version, decoders, encoder, source and codes only; export the pack again")
    d = config.decoder
    shape = (len(d.dilations), d.residual_channels)
    ranges = _check_weights(value.get("decoders"), dict.fromkeys(decoders, shape), f"{what} of decoders")
    of_encoder: Weights = {}
    if value.get("encoder"):
        of_encoder = _check_weights(value["encoder"], encoder_range_shapes(config.encoder), f"{what} of encoder")
    for name, array in [*ranges.items(), *of_encoder.items()]:
        if array.size and array.min() < 0:
            raise UserError(f"{what}: {name} holds negative numbers, expected magnitudes; export the pack again")
    source = value.get("source", "")
    if not isinstance(source, str) or len(source) > 4096:
        raise UserError(f"{what} source must be a text of at most 4096 letters, found {type(source).__name__}")
    checked: dict[str, Any] = {"version": CALIBRATION_VERSION}
    checked.update(decoders=ranges, encoder=of_encoder, source=source)
    if value.get("codes"):
        checked["codes"] = _check_codes(value["codes"], d, decoders, f"{what} codes")
    made = value.get("codes_made_at_load", False)
    if not isinstance(made, bool):
        raise UserError(f"{what} codes_made_at_load must be true or false, found {str(made)[:40]}")
    if made:
        checked["codes_made_at_load"] = True
    return checked


def _check_codes(value: Any, config: DecoderConfig, decoders: Collection[str], what: str) -> dict[str, Weights]:
    """The weights in 4 bits of every decoder."""
    if not isinstance(value, dict) or set(value) != set(decoders):
        found = ", ".join(str(name)[:40] for name in value) if isinstance(value, dict) else type(value).__name__
        raise UserError(f"{what} must be of the decoders {', '.join(decoders)}, found {found}; export the pack again")
    checked: dict[str, Weights] = {}
    for decoder in decoders:
        shapes = code_shapes(config)
        codes = [name for name in shapes if not name.endswith("_scale")]
        arrays = _check_weights(value[decoder], shapes, f"{what} of {decoder}", codes)
        for name, array in arrays.items():
            if name not in codes:
                if array.size and array.min() <= 0.0:
                    raise UserError(f"{what} of {decoder} {name} must be above 0; export the pack again")
            elif array.size and not LEAST_CODE <= array.min() <= array.max() <= GREATEST_CODE:
                raise UserError(
                    f"{what} of {decoder} {name} must lie in {LEAST_CODE} to {GREATEST_CODE}, found {array.min()} to"
                    f" {array.max()}; export the pack again"
                )
        checked[decoder] = arrays
    return checked
