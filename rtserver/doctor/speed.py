"""How much faster than real time each shipped pack runs on one core here: a short measurement, not a promise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtserver import model_file, prepared
from rtserver.doctor.check import Check
from rtserver.errors import UserError
from rtserver.precision import resolve

# Decoder and encoder share the margin with whatever else the machine does: below this they miss blocks.
COMFORTABLE = 1.3
MEASURE_S = 0.4


def models() -> list[Check]:
    """A check for every pack that a bare name finds."""
    names = model_file.shipped()
    if not names:
        return [
            Check("models", "warning", "none is shipped or installed", "train one: docs/training.md", {"models": []})
        ]
    return [model(name) for name in names]


def model(name: str) -> Check:
    """Load a pack, run its encoder and a decoder for a moment."""
    try:
        pack = prepared.load(name, "auto")
        data = times_realtime(pack)
    except UserError as error:
        return Check(f"model {name}", "warning", str(error), "get the file again", {"name": name})
    found = (
        f"{data['times_realtime']:.1f} x real time"
        f" (decoder {data['decoder_times_realtime']:.1f}, encoder {data['encoder_times_realtime']:.1f})"
    )
    if data["times_realtime"] >= COMFORTABLE:
        return Check(f"model {name}", "ok", found, "", data)
    fix = "too slow to play live here; files still translate, and a narrower model or a faster machine plays"
    return Check(f"model {name}", "warning", found, fix, data)


def times_realtime(pack: model_file.Model) -> dict[str, Any]:
    """Seconds of audio a second of one core: of the decoder, of the encoder, and of one after the other."""
    from rtserver import networks

    config = pack.config
    name = pack.decoder_name()
    hop_s = config.encoder.hop_samples / config.sample_rate_hz
    precision = resolve(model=pack)
    decoder = networks.decoder(pack, name, precision)
    slot = decoder.open_slot(0)
    latent = np.zeros((1, config.encoder.latent_channels), np.float32)
    encoder = networks.encoder(pack, precision=precision)
    hop = np.zeros(config.encoder.hop_samples, np.float32)
    decoder_s = _seconds(lambda: slot.generate(latent))
    encoder_s = _seconds(lambda: encoder.step(hop))
    return {
        "name": pack.name,
        "isa": decoder.isa,
        "precision": precision,
        "decoder_times_realtime": round(hop_s / decoder_s, 2),
        "encoder_times_realtime": round(hop_s / encoder_s, 2),
        "times_realtime": round(hop_s / (decoder_s + encoder_s), 2),
    }


def _seconds(step: Callable[[], object]) -> float:
    """Median time of a step, after one to warm up."""
    step()
    taken: list[float] = []
    until_s = time.perf_counter() + MEASURE_S
    while len(taken) < 3 or time.perf_counter() < until_s:
        started_s = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started_s)
    return float(np.median(taken))
