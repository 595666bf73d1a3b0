"""Calibration: what int8 and int4 must know of a pack's activations: how large they get, and which go together.

A pack brings its own, measured on training audio (`training.calibrate`). For one that doesn't, it is measured here when
the pack is loaded: the decoders are led, in fp32, through a moment of synthetic whistling and noise. Played in another
instrument's voice, that drives them a little further than their own sound does, and costs half of playing freely.
Shapes: H hops, L latent channels, R residual channels, N samples.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from rtserver import _engine, quantise, whistle
from rtserver.emphasis import emphasise
from rtserver.encoder import EngineEncoder, on_cpu
from rtserver.model_check import CALIBRATION_VERSION
from rtserver.model_file import Model
from rtserver.moments import input_moments
from rtserver.precision import is_complete

FloatArray = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

RATE_HZ = 16000
NOTE_S = 0.13
# Pitch and gain of each whistled note: low and high, loud and soft. At a gain of 2.2 it is just short of full scale.
NOTES = ((57.0, 2.2), (91.0, 2.2), (69.0, 0.5), (79.0, 1.0))
# Standard deviation and length of the noise that follows, loud then soft: it excites what no note does.
NOISE = ((0.4, 0.06), (0.04, 0.06))
# Whoever plays for an hour gets further than any moment of the clip.
HEADROOM = 1.25
# The encoder hears anything, so it is led through every pitch besides: a loud sine upwards, a soft one downwards and a
# square wave, all of HEARD_S. Without headroom: its int8 latents of whistling, noise, sweeps and square waves, loud and
# soft, are off by 0.4 to 1.1 % of their RMS on the shipped pack, with a quarter of headroom by up to 2.2 %, because the
# soft is rounded coarser, while cutting off a few peaks is not noticed.
HEARD_S = 0.5
SOURCE_OF_ENCODER = "2.1 s of synthetic whistling, noise, sweeps and square waves"
# Of the clip's second moments (`rtserver.quantise`): it is too short to go by as closely as by minutes of music. With
# a tenth of it, the piano of the shipped pack loses 0.003 nat more.
DAMPING = 0.1
SOURCE_OF_CODES = "weights in 4 bits: the same whistling and noise"
SOURCE = "0.64 s of synthetic whistling and noise, teacher-forced, with a quarter of headroom"


def clip() -> FloatArray:
    """The audio that a pack is calibrated on, [N] at 16 kHz: the same samples every time."""
    samples = round(NOTE_S * RATE_HZ)
    notes = [whistle.Note(NOTE_S * i + 0.005, NOTE_S - 0.02, pitch) for i, (pitch, _) in enumerate(NOTES)]
    played = whistle.synthesise(notes, RATE_HZ, tail_s=NOTE_S)[: samples * len(NOTES)]
    played = played * np.repeat(np.array([gain for _, gain in NOTES], np.float32), samples)
    rng = np.random.default_rng(0)
    noise = [level * rng.standard_normal(round(seconds * RATE_HZ)) for level, seconds in NOISE]
    whole: FloatArray = np.clip(np.concatenate([played, *noise]), -1.0, 1.0).astype(np.float32)
    return whole


def heard() -> FloatArray:
    """The audio that an encoder is calibrated on, [N] at 16 kHz."""
    n = round(HEARD_S * RATE_HZ)
    upwards = np.cumsum(np.geomspace(40.0, 7500.0, n)) * (2.0 * np.pi / RATE_HZ)
    low = np.cumsum(np.geomspace(50.0, 2000.0, n)) * (2.0 * np.pi / RATE_HZ)
    parts = [clip(), np.sin(upwards), 0.25 * np.sin(upwards)[::-1], np.sign(np.sin(low))]
    return np.concatenate(parts).astype(np.float32)


def for_pack(model: Model, codes: bool = False) -> dict[str, Any]:
    """The field `calibration` of a pack that lacks it, or a part of it: what there is is kept.

    Computes 34,240 samples of the encoder and 10,240 of every decoder in fp32. codes: whether to make the decoders'
    weights in 4 bits as well, a second or two for 40 layers of 128 channels.
    """
    found = model.calibration if is_complete(model) else _ranges(model)
    if not codes or found.get("codes"):
        return found
    heard_by = hear(open_encoder(model), clip(), model)
    made = {name: codes_of(model, name, found["decoders"][name], [heard_by], DAMPING) for name in model.decoders}
    source = f"{found['source']}; {SOURCE_OF_CODES}"
    return {**found, "source": source, "codes": made, "codes_made_at_load": True}


def codes_of(
    model: Model,
    name: str,
    ranges: FloatArray,
    pieces: Iterable[tuple[FloatArray, Codes]],
    damping: float = quantise.DAMPING,
) -> dict[str, np.ndarray]:
    """A decoder's weights in 4 bits (`rtserver.quantise`), rounded for what it plays.

    ranges: float32 [layers, R], of the same decoder. pieces: latents [H, L] and codes [H * hop] that it is led through.
    """
    config, weights = model.decoder_config(name), model.decoders[name]
    sums, samples = None, 0
    for latents, codes in pieces:
        each = [len(codes) * moments for moments in input_moments(config, weights, latents, codes)]
        sums = each if sums is None else [a + b for a, b in zip(sums, each, strict=True)]
        samples += len(codes)
    if sums is None:
        raise ValueError("weights in 4 bits: expected a piece of audio at least, found none")
    x, z = (total / samples for total in sums)
    return quantise.quantise(weights, ranges, x, z, damping)


def _ranges(model: Model) -> dict[str, Any]:

    def of_decoder(name: str) -> FloatArray:
        engine = _engine.Decoder(model.decoder_config(name), model.decoders[name])
        found: FloatArray = np.float32(HEADROOM) * engine.input_ranges(latents, codes)
        return found

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # the engine releases the interpreter
        encoder = pool.submit(encoder_ranges, model, [heard()])
        if model.calibration.get("decoders"):
            source = f"{model.calibration['source']}; the encoder: {SOURCE_OF_ENCODER}"
            return {**model.calibration, "encoder": encoder.result(), "source": source}
        latents, codes = hear(open_encoder(model), clip(), model)
        ranges = dict(zip(model.decoders, pool.map(of_decoder, model.decoders), strict=True))
        return {"version": CALIBRATION_VERSION, "decoders": ranges, "encoder": encoder.result(), "source": SOURCE}


def encoder_ranges(model: Model, pieces: Sequence[FloatArray]) -> dict[str, FloatArray]:
    """The ranges [layers, C] of a pack's encoder, by name, over pieces of audio [N] at 16 kHz, without headroom.

    None of an encoder behind a filter bank, which runs in float32 always.
    """
    engine = _engine.Encoder(asdict(model.config.encoder), model.encoder)
    found = [engine.ranges(np.concatenate(list(hops(piece, model)))) for piece in pieces]
    return {name: np.maximum.reduce([ranges[name] for ranges in found]) for name in found[0]}


def open_encoder(model: Model) -> EngineEncoder:
    """A pack's encoder in fp32, to be used again and again by `hear`."""
    return on_cpu(model.config.encoder, model.encoder)


def hops(audio: FloatArray, model: Model) -> Iterator[FloatArray]:
    """What a pack's encoder hears, [hop] by hop, of audio [N] at 16 kHz; silence fills the last hop."""
    return _hops(audio, model, model.config.input_encoding)


def codes_played(audio: FloatArray, model: Model) -> Codes:
    """The codes [H * hop] that a pack's decoder predicts where it plays audio [N] at 16 kHz, pre-emphasised as it says.

    Silence fills the last hop.
    """
    missing = -len(audio) % model.config.encoder.hop_samples
    wanted = emphasise(np.pad(audio, (0, missing)), model.config.emphasis)  # the silence too: it has a beginning
    played = np.concatenate(list(_hops(wanted, model, f"mu_law_{model.config.mu_law}")))
    return np.rint((played + 0.5) * 255.0).astype(np.uint8)  # a code q is heard as q / 255 - 0.5


def _hops(audio: FloatArray, model: Model, encoding: str) -> Iterator[FloatArray]:
    hop_samples = model.config.encoder.hop_samples
    intake = _engine.Intake(RATE_HZ, 1, hop_samples, encoding)
    intake.push(audio)
    intake.finish()
    for _ in range(-(-len(audio) // hop_samples)):
        hop = intake.pop_hop()
        if hop is None:
            raise RuntimeError("the intake gave fewer hops than it was given audio for")
        yield hop


def hear(encoder: EngineEncoder, audio: FloatArray, model: Model) -> tuple[FloatArray, Codes]:
    """Latents [H, L] of audio [N] at 16 kHz from its beginning, and its codes [H * hop]; silence fills the last hop.

    Codes as `codes_played` gives them.
    """
    encoder.reset()
    latents = [encoder.step(hop) for hop in hops(audio, model)]
    heard = [latent for latent in [*latents, *encoder.finish()] if latent is not None]
    return np.stack(heard), codes_played(audio, model)
