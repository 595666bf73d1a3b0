"""What a faster arithmetic costs in quality: int4, int8 and bf16 against fp32, in the engine itself.

Teacher-forced loss on held-out segments, and pitch of free-running translations by the product's own pipeline. A
segment's losses are compared with each other, which takes the music out of the noise; translations differ from the
first sample that a precision draws otherwise, so there the noise is what other seeds do to the same clip.
Shapes: T samples, H hops, L latent channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track as progress_track

from rtserver import calibration, networks, pipeline, pitch, precision
from rtserver.model_file import Model

REFERENCE = "fp32"
LOG = Console(stderr=True)


def code_losses(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Cross-entropy in nats, float64 [T], of codes [T] under logits [T, 256]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(codes)), codes]


@dataclass(frozen=True)
class Variant:
    """A row of the comparison: the precisions of the two networks."""

    label: str
    encoder: str
    decoder: str


def variants(precisions: Sequence[str]) -> list[Variant]:
    """The reference, every precision as the product runs it, and those with integers in the decoder alone."""
    rows = [Variant(wanted, wanted, wanted) for wanted in dict.fromkeys([REFERENCE, *precisions])]
    for wanted in precision.QUANTISED:
        if wanted in precisions:  # whose loss is it?
            rows.append(Variant(f"{wanted}_decoder_alone", REFERENCE, wanted))
    return rows


def segment_losses(
    model: Model,
    name: str,
    segments: Iterable[tuple[np.ndarray, np.ndarray]],
    precisions: Sequence[str],
    warmup_samples: int,
) -> dict[str, np.ndarray]:
    """Mean loss in nats of every segment, float64 [segments], for each of `variants(precisions)` of a decoder.

    segments: what the encoder hears, float32 [context + T] at 16 kHz, and what the decoder is to play, [T], where
    context is what `EncoderConfig.context_samples` says. warmup_samples: codes
    at the start, where the past is cut off, that don't count. UserError for a precision that the engine doesn't have.
    """
    rows = variants(precisions)
    encoders, decoders = {}, {}
    for wanted in {row.encoder for row in rows} | {row.decoder for row in rows}:
        calibrated = replace(model, calibration=precision.calibration_for(model, precision.resolve(wanted)))
        encoders[wanted] = networks.encoder(calibrated, precision=wanted)
        decoders[wanted] = networks.decoder(calibrated, name, wanted)
    losses: dict[str, list[float]] = {row.label: [] for row in rows}
    for source, target in segments:
        first = (len(source) - len(target)) // model.hop_samples
        latents = {wanted: calibration.hear(encoder, source, model)[0][first:] for wanted, encoder in encoders.items()}
        codes = calibration.codes_played(target, model)[: len(target)]
        for row in rows:
            each = code_losses(decoders[row.decoder].logits(latents[row.encoder], codes), codes)
            losses[row.label].append(float(each[warmup_samples:].mean()))
    return {label: np.array(values) for label, values in losses.items()}


def compare_losses(losses: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean and standard error for each variant; for all but the reference the paired difference from it, too."""
    rows = {}
    for wanted, values in losses.items():
        row = {"mean": float(values.mean()), "standard_error": _standard_error(values)}
        if wanted != REFERENCE:
            difference = values - losses[REFERENCE]
            row |= {
                "difference": float(difference.mean()),
                "difference_standard_error": _standard_error(difference),
                "largest_difference": float(difference[np.abs(difference).argmax()]),
            }
        rows[wanted] = {k: round(v, 5) for k, v in row.items()}
    return rows


def pitch_scores(
    model: Model,
    name: str,
    inputs: dict[str, np.ndarray],
    precisions: Sequence[str],
    seeds: int,
    temperature: float,
) -> dict[str, np.ndarray]:
    """Share of voiced frames within 50 cents of the input's pitch, float64 [clips, seeds], for each precision.

    inputs: float32 [T] at 16 kHz by name. Every precision plays every clip once a seed.
    """
    scores = {wanted: np.zeros((len(inputs), seeds)) for wanted in precisions}
    for i, audio in enumerate(progress_track(inputs.values(), description="playing freely", console=LOG)):
        heard = (audio * np.float32(0.5 / max(float(np.abs(audio).max()), 1e-3))).astype(np.float32)
        wanted_pitch = pitch.track(audio, model.config.sample_rate_hz)
        for wanted in precisions:
            for seed in range(seeds):
                played = pipeline.translate(
                    model, heard, model.config.sample_rate_hz, name, seed, temperature, precision=wanted
                )
                found = pitch.agreement(wanted_pitch, pitch.track(played, model.config.sample_rate_hz))
                scores[wanted][i, seed] = found.within_50_cents * found.voiced_both
    return scores


def compare_pitch(scores: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean over clips and seeds with the noise of the seeds; for all but the reference the difference from it, too."""
    noise = {wanted: _seed_noise(values) for wanted, values in scores.items()}
    rows = {}
    for wanted, values in scores.items():
        row = {"mean": float(values.mean()), "standard_error": noise[wanted]}
        if wanted != REFERENCE:
            row |= {
                "difference": float(values.mean() - scores[REFERENCE].mean()),
                "difference_standard_error": float(np.hypot(noise[wanted], noise[REFERENCE])),
            }
        rows[wanted] = {k: round(v, 4) for k, v in row.items()}
    return rows


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _seed_noise(scores: np.ndarray) -> float:
    """Standard error of the mean of [clips, seeds] when the same clips are played with other seeds."""
    clips, seeds = scores.shape
    return float(np.sqrt(scores.var(axis=1, ddof=1).sum() / seeds) / clips) if seeds > 1 else float("nan")


def compare(
    model: Model,
    segments: dict[str, list[tuple[np.ndarray, np.ndarray]]],
    inputs: dict[str, np.ndarray],
    precisions: Sequence[str],
    warmup_samples: int,
    seeds: int,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Both comparisons for every decoder that there are segments for, `REFERENCE` included without being named.

    Scores of pitch count a frame as missed in which nothing sounds.
    """
    wanted = [row.label for row in variants(precisions) if row.encoder == row.decoder]
    result: dict[str, Any] = {}
    for name, own in segments.items():
        steps = progress_track(own, description=f"{name}: losses", console=LOG)
        losses = segment_losses(model, name, steps, precisions, warmup_samples)
        result[name] = {"segments": len(own), "held_out_loss_nats": compare_losses(losses)}
        if inputs:
            scores = pitch_scores(model, name, inputs, wanted, seeds, temperature)
            result[name] |= {"clips": len(inputs), "seeds": seeds, "within_50_cents": compare_pitch(scores)}
    return result
