"""Options that several commands share, and the bar that those with long work show."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rtserver.precision import METAVAR

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Precision = Annotated[str, typer.Option(metavar=METAVAR, help="Arithmetic of the networks.")]
EncoderDevice = Annotated[str, typer.Option(metavar="auto|cpu|cuda:N", help="Where the encoder runs.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the random numbers: same seed, same output.")]
Temperature = Annotated[float, typer.Option(min=0.0, max=2.0, help="Of sampling; 0 takes the likeliest.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def progress_bar(quiet: bool, *columns: ProgressColumn) -> Progress:
    """On standard error, for a person: none with `quiet` or into a file. columns: before the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        *columns,
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=quiet or not sys.stderr.isatty(),
    )
