"""Calibrate a pack for int8 and int4 on training audio: `python -m training.calibrate --config TOML --model PACK`.

`training.export` does it for a new pack; this is for one that exists. The weights keep their bits.
Shapes: R residual channels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtserver import _engine, calibration, model_file
from rtserver.model_check import CALIBRATION_VERSION
from rtserver.model_file import Model
from training.command import configured, one_line_errors
from training.dataset import Batch, Corpus
from training.settings import Settings

SEGMENTS = 24
SEGMENT_SECONDS = 2.0


def draw(model: Model, name: str, corpus: Corpus, settings: Settings, segments: int) -> Batch:
    """The segments of a decoder's corpus that are measured, the same every time."""
    train = settings.train
    hop = model.hop_samples
    samples = round(SEGMENT_SECONDS * model.config.sample_rate_hz) // hop * hop
    rng = np.random.default_rng(11)
    return corpus.draw(rng, name, train.timbre_lags_ms, train.timbre_probability, segments, samples)


def encoder_ranges(model: Model, corpus: Corpus, settings: Settings, segments: int) -> dict[str, np.ndarray]:
    """What `_engine.Encoder.ranges` gives over what all decoders hear, and `calibration.heard`, without headroom."""
    pieces = [calibration.heard()]
    for name in model.decoders:
        batch = draw(model, name, corpus, settings, segments)
        pieces += [source.astype(np.float32) for source in batch.source]
    return dict(calibration.encoder_ranges(model, pieces))


def led_through(
    model: Model, name: str, corpus: Corpus, settings: Settings, segments: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Latents [H, L] and codes [T] of what a decoder is measured on: random segments of its corpus.

    Each is there twice: teacher-forced, and free-running as on stage, with sources in every timbre as in training.
    The clip of `rtserver.calibration` comes on top: harsher than music, it stands for whatever people may play.
    """
    decoder = _engine.Decoder(model.decoder_config(name), model.decoders[name])
    encoder = calibration.open_encoder(model)
    batch = draw(model, name, corpus, settings, segments)
    pieces = [calibration.hear(encoder, calibration.clip(), model)]
    for seed, (source, target) in enumerate(zip(batch.source, batch.target, strict=True)):
        latents, _ = calibration.hear(encoder, source.astype(np.float32), model)
        codes = calibration.codes_played(target.astype(np.float32), model)
        pieces += [(latents, codes), (latents, decoder.open_slot(seed).generate(latents))]
    return pieces


def decoder_ranges(model: Model, name: str, pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Greatest |input| [layers, R] of each layer of a decoder in fp32 over pieces of `led_through`, with headroom.

    On the shipped pack no held-out melody or recording, at full scale, went beyond 1.27 times what is found so.
    """
    decoder = _engine.Decoder(model.decoder_config(name), model.decoders[name])
    greatest: np.ndarray = np.maximum.reduce([decoder.input_ranges(*piece) for piece in pieces])
    return greatest * np.float32(calibration.HEADROOM)


def calibrate(model: Model, settings: Settings, segments: int = SEGMENTS) -> dict[str, Any]:
    """The field `calibration` of a pack whose decoders are named as the corpus's instruments.

    Raises FileNotFoundError if the corpus isn't rendered.
    """
    corpus = Corpus(settings.corpus.folder, "train", list(settings.train.timbre_lags_ms))
    seconds = segments * SEGMENT_SECONDS
    ranges, codes = {}, {}
    for name in model.decoders:
        pieces = led_through(model, name, corpus, settings, segments)
        ranges[name] = decoder_ranges(model, name, pieces)
        codes[name] = calibration.codes_of(model, name, ranges[name], pieces)
    return {
        "version": CALIBRATION_VERSION,
        "decoders": ranges,
        "codes": codes,
        "encoder": encoder_ranges(model, corpus, settings, segments),
        "source": f"{seconds:.0f} s of each decoder's training audio ({settings.corpus.name}), teacher-forced and"
        " free-running, and 0.64 s of synthetic whistling and noise, the ranges with a quarter of headroom; the"
        f" encoder: the same sources and {calibration.SOURCE_OF_ENCODER}",
    }


def is_half(model: Model) -> bool:
    """Whether float16 holds every weight of a pack without rounding."""
    arrays = [a for weights in (model.encoder, *model.decoders.values()) for a in weights.values()]
    return all(np.array_equal(a, a.astype(np.float16).astype(np.float32)) for a in arrays)


def rewrite(path: Path, card: dict[str, Any] | None = None, ranges: dict[str, Any] | None = None) -> None:
    """Write a pack again with another card or calibration; its weights keep their bits, and float16 stays float16.

    Where a calibration comes from goes into the card, too.
    """
    model = model_file.load(path)
    card = model.card if card is None else card
    if ranges is not None:
        card = {**card, "recipe": {**card.get("recipe", {}), "calibration": ranges["source"]}}
    model_file.save(
        path,
        model.config,
        model.encoder,
        model.decoders,
        card=card,
        calibration=model.calibration if ranges is None else ranges,
        half=is_half(model),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the configuration that was trained")
    parser.add_argument("--model", required=True, help="pack to calibrate; it is written again")
    parser.add_argument("--segments", type=int, default=SEGMENTS, help=f"how many of {SEGMENT_SECONDS:.0f} s to play")
    arguments = parser.parse_args()
    settings = configured(arguments.config)
    with one_line_errors():
        path = model_file.find(arguments.model)
        ranges = calibrate(model_file.load(path), settings, arguments.segments)
        rewrite(path, ranges=ranges)
    for name, greatest in ranges["decoders"].items():
        print(f"{path}: {name}: greatest input {greatest.max():.2f}, of its quietest channel {greatest.min():.2f}")


if __name__ == "__main__":
    main()
