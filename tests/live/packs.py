"""Packs made of the shipped one's decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtserver import model_file


def of_shipped(path: Path, decoders: dict[str, str]) -> None:
    """Write a pack: name of a decoder there -> the decoder of piano.pt that it is, with its ranges and codes."""
    shipped = model_file.load("piano.pt")

    def of_each(there: dict[str, Any]) -> dict[str, Any]:
        return {name: there[source] for name, source in decoders.items()}

    calibration = dict(shipped.calibration)
    for name in ("decoders", "codes"):
        if calibration.get(name):
            calibration[name] = of_each(calibration[name])
    weights = of_each(shipped.decoders)
    model_file.save(path, shipped.config, shipped.encoder, weights, shipped.card, calibration=calibration)
