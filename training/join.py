"""Gather the decoders of several packs in one: `python -m training.join piano.pt others.pt -o classical.pt`.

The packs must have the same encoder, bit for bit, as those have that were trained with it frozen. All weights and
calibrations keep their bits; what the later packs' cards say is told under their instruments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtserver import model_file
from rtserver.errors import UserError
from rtserver.model_file import Model
from training.calibrate import is_half

TOLD = ("licence", "data", "recipe", "training_loss", "checkpoint_sha256", "metrics")


def join(packs: Sequence[Model], out: Path) -> Model:
    """Write the pack that has the first one's encoder and card and the decoders of all; gives what was written.

    UserError if the encoders or architectures differ, a decoder's name is there twice, or only some are calibrated.
    """
    first = packs[0]
    decoders, instruments = dict(first.decoders), dict(first.card.get("instruments", {}))
    calibration: dict[str, Any] = dict(first.calibration)
    for pack in packs[1:]:
        _same_encoder(first, pack)
        if twice := set(decoders) & set(pack.decoders):
            raise UserError(f"{pack.name}: a decoder {min(twice)} is in another pack already")
        decoders |= pack.decoders
        if bool(pack.calibration) != bool(calibration):
            raise UserError(f"{pack.name}: expected every pack calibrated or none; see `python -m training.calibrate`")
        for field in ("decoders", "codes"):
            if field in calibration or field in pack.calibration:
                calibration[field] = {**calibration.get(field, {}), **pack.calibration.get(field, {})}
        told = {key: pack.card[key] for key in TOLD if key in pack.card}
        instruments |= {name: {"pack": pack.name, "pack_sha256": pack.sha256, **told} for name in pack.decoders}
        instruments |= pack.card.get("instruments", {})
    licences = dict.fromkeys(str(pack.card.get("licence", "not stated")) for pack in packs)
    card = {**first.card, "name": out.stem, "licence": "; ".join(licences), "instruments": instruments}
    half = all(is_half(pack) for pack in packs)
    model_file.save(out, first.config, first.encoder, decoders, card=card, calibration=calibration or None, half=half)
    return model_file.load(out)


def _same_encoder(first: Model, other: Model) -> None:
    if other.config != first.config:
        raise UserError(f"{other.name} is of another architecture than {first.name}")
    for name, weights in first.encoder.items():
        if not np.array_equal(weights, other.encoder[name]):
            raise UserError(
                f"{other.name} has another encoder than {first.name} ({name} differs); train its decoders with"
                f' `start = "{first.name}.pt"` and `encoder = "frozen"`'
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", nargs="+", help="packs with the same encoder, the one that plays first at the front")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the pack to write")
    arguments = parser.parse_args()
    try:
        made = join([model_file.load(pack) for pack in arguments.packs], arguments.output)
    except UserError as error:
        sys.exit(f"{error}")
    print(f"{arguments.output}: {', '.join(made.decoders)}; {arguments.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
