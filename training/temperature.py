"""Choose what a pack's temperature 1 is: `python -m training.temperature --model PACK 0.8`.

A small network that says how unsure it is of every sample sounds like it: what it adds beyond the note is noise. At a
lower temperature it adds less, and a pack carries that in the weights of its last layer, so that 1 stays what a player,
a plugin or a saved session asks for. `training.export --temperature` does it for a new pack; this is for one that is
there already.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtserver import model_file
from training.calibrate import is_half
from training.command import one_line_errors


def sharpened(decoder: dict[str, np.ndarray], temperature: float) -> dict[str, np.ndarray]:
    """The same decoder, whose temperature 1 is the given temperature of the one before."""
    last = ("logits.weight", "logits.bias")
    return {k: (v / np.float32(temperature) if k in last else v) for k, v in decoder.items()}


def fold(path: Path, temperature: float, decoders: Sequence[str] = ()) -> dict[str, float]:
    """Write a pack again, whose decoders (all, if none is named) play at 1 as they did at `temperature`.

    Gives, by decoder, the temperature of its training that is 1 now. The calibration stays: it holds the inputs of
    layers, and their weights are the same. ValueError for a temperature that isn't above 0; UserError for a decoder
    that isn't there.
    """
    if not temperature > 0.0:
        raise ValueError(f"expected a temperature above 0, found {temperature}")
    model = model_file.load(path)
    chosen = [model.decoder_name(name) for name in decoders] or list(model.decoders)
    recipe = model.card.get("recipe", {})
    before = recipe.get("folded_temperature", {})
    if not isinstance(before, dict):  # as written by earlier versions: one for all
        before = dict.fromkeys(model.decoders, before)
    folded = {name: before.get(name, 1.0) for name in model.decoders}
    folded |= {name: round(folded[name] * temperature, 6) for name in chosen}
    model_file.save(
        path,
        model.config,
        model.encoder,
        {name: sharpened(w, temperature) if name in chosen else w for name, w in model.decoders.items()},
        card={**model.card, "recipe": {**recipe, "folded_temperature": folded}},
        calibration=model.calibration,
        half=is_half(model),
    )
    return folded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="pack; it is written again")
    parser.add_argument("temperature", type=float, help="temperature, of the pack as it is, that becomes its 1")
    parser.add_argument("--decoder", action="append", default=[], help="again for more; all otherwise")
    arguments = parser.parse_args()
    path = model_file.find(arguments.model)
    try:
        with one_line_errors():
            folded = fold(path, arguments.temperature, arguments.decoder)
    except ValueError as error:
        parser.error(str(error))
    told = ", ".join(f"{value:g} ({name})" for name, value in folded.items())
    print(f"{path}: 1 is {told} of the training; measure it again with training.evaluate --card")


if __name__ == "__main__":
    main()
