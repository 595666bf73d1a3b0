"""Calibration: how large the activations of a pack get, which int8 arithmetic must know beforehand.

A pack brings its own, measured on training audio (`training.calibrate`). For one that doesn't, it is measured here when
the pack is loaded: the decoders are led, in fp32, through a moment of synthetic whistling and noise. Played in another
instrument's voice, that drives them a little further than their own sound does, and costs half of playing freely.
Shapes: H hops, L latent channels, R residual channels, N samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rtserver import _engine, encoder_graph, whistle
from rtserver.encoder import OnnxEncoder
from rtserver.model_check import CALIBRATION_VERSION
from rtserver.model_file import Model

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


def for_pack(model: Model) -> dict[str, Any]:
    """The field `calibration` of a pack that has none. Computes 10,240 samples of every decoder in fp32."""
    latents, codes = hear(open_encoder(model), clip(), model)
    ranges = {
        name: np.float32(HEADROOM) * _engine.Decoder(model.decoder_config(name), weights).input_ranges(latents, codes)
        for name, weights in model.decoders.items()
    }
    return {"version": CALIBRATION_VERSION, "decoders": ranges, "encoder": {}, "source": SOURCE}


def open_encoder(model: Model) -> OnnxEncoder:
    """A pack's encoder in fp32, to be used again and again by `hear`."""
    return OnnxEncoder(encoder_graph.build(model.config.encoder, model.encoder), model.config.encoder)


def hear(encoder: OnnxEncoder, audio: FloatArray, model: Model) -> tuple[FloatArray, Codes]:
    """Latents [H, L] of audio [N] at 16 kHz from its beginning, and its codes [H * hop]; silence fills the last hop."""
    hop_samples = model.config.encoder.hop_samples
    intake = _engine.Intake(RATE_HZ, 1, hop_samples, f"mu_law_{model.config.mu_law}")
    intake.push(audio)
    intake.finish()
    encoder.reset()
    latents: list[np.ndarray | None] = []
    codes: list[np.ndarray] = []
    for _ in range(-(-len(audio) // hop_samples)):
        hop = intake.pop_hop()
        if hop is None:
            raise RuntimeError("the intake gave fewer hops than it was given audio for")
        latents.append(encoder.step(hop))
        codes.append(np.rint((hop + 0.5) * 255.0).astype(np.uint8))  # a code q is heard as q / 255 - 0.5
    heard = [latent for latent in [*latents, *encoder.finish()] if latent is not None]
    return np.stack(heard), np.concatenate(codes)
