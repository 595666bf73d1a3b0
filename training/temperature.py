"""Choose what a pack's temperature 1 is: `python -m training.temperature --model PACK 0.8`.

A small network that says how unsure it is of every sample sounds like it: what it adds beyond the note is noise. At a
lower temperature it adds less, and a pack carries that in the weights of its last layer, so that 1 stays what a player,
a plugin or a saved session asks for. `training.export --temperature` does it for a new pack; this is for one that is
there already.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from rtserver import model_file
from training.calibrate import is_half


def sharpened(decoder: dict[str, np.ndarray], temperature: float) -> dict[str, np.ndarray]:
    """The same decoder, whose temperature 1 is the given temperature of the one before."""
    last = ("logits.weight", "logits.bias")
    return {k: (v / np.float32(temperature) if k in last else v) for k, v in decoder.items()}


def fold(path: Path, temperature: float) -> float:
    """Write a pack again, all of whose decoders play at 1 as they did at `temperature`; gives that of the training.

    The calibration stays: it holds the inputs of layers, and their weights are the same. ValueError for a temperature
    that isn't above 0.
    """
    if not temperature > 0.0:
        raise ValueError(f"expected a temperature above 0, found {temperature}")
    model = model_file.load(path)
    recipe = model.card.get("recipe", {})
    folded = round(recipe.get("folded_temperature", 1.0) * temperature, 6)
    model_file.save(
        path,
        model.config,
        model.encoder,
        {name: sharpened(weights, temperature) for name, weights in model.decoders.items()},
        card={**model.card, "recipe": {**recipe, "folded_temperature": folded}},
        calibration=model.calibration,
        half=is_half(model),
    )
    return folded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="pack; it is written again")
    parser.add_argument("temperature", type=float, help="temperature, of the pack as it is, that becomes its 1")
    arguments = parser.parse_args()
    path = model_file.find(arguments.model)
    try:
        folded = fold(path, arguments.temperature)
    except ValueError as error:
        parser.error(str(error))
    print(f"{path}: its 1 is {folded:g} of the training; measure it again with training.evaluate --card")


if __name__ == "__main__":
    main()
