"""Write a pack with random weights, to try the machinery: `python -m training.untrained OUT.pt [--config TOML]`.

--preset NAME: the networks of a preset instead of the configuration's.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from rtserver import model_file
from rtserver.model_config import PRESETS
from training.command import configured, one_line_errors
from training.export import part
from training.network import TranslationNetwork
from training.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=Path, default=Path("training/configs/live_cpu.toml"))
    parser.add_argument("--preset", choices=PRESETS)
    arguments = parser.parse_args()
    settings = configured(arguments.config)
    if arguments.preset:
        settings = replace(settings, model=PRESETS[arguments.preset])
    with one_line_errors():
        write(arguments.output, settings)


def write(output: Path, settings: Settings) -> None:
    """A pack of that shape, the same weights every time."""
    torch.manual_seed(0)
    domains = list(settings.train.domains)
    state = TranslationNetwork(settings.model, domains, 1).state_dict()
    decoders = {d: part(state, f"decoders.{d}.") for d in domains}
    model_file.save(output, settings.model, part(state, "encoder."), decoders, card={"name": "untrained"})


if __name__ == "__main__":
    main()
