"""`rtserver devices`: what PortAudio can record from and play to."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rtserver.live.devices import Device


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def devices(
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """List microphones, headphones and other sound devices, for `rtserver live --input --output`."""
        from rtserver.live import settings
        from rtserver.live.devices import listed

        found = listed()
        kept = settings.load()
        if as_json:
            remembered = {side: kept.get(side) for side in ("input", "output")}
            print(json.dumps({"devices": [device.to_dict() for device in found], "remembered": remembered}))
        else:
            show(found, kept)


def show(found: list[Device], kept: dict[str, object]) -> None:
    """A table for a person."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    if not found:
        from rtserver.live.devices import none_found

        console.print(none_found("input"), markup=False)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("", "device", "host API", "in", "out", "rate", "low latency in / out", ""):
        table.add_column(title, justify="right" if title in ("", "in", "out", "rate") else "left")
    for device in found:
        marks = [
            *(["default in"] if device.default_input else []),
            *(["default out"] if device.default_output else []),
            *(["last in"] if kept.get("input") == device.label else []),
            *(["last out"] if kept.get("output") == device.label else []),
        ]
        latencies = [
            f"{1000 * device.low_input_latency_s:.1f} ms" if device.inputs else "-",
            f"{1000 * device.low_output_latency_s:.1f} ms" if device.outputs else "-",
        ]
        table.add_row(
            str(device.number),
            escape(device.name),
            device.host_api,
            str(device.inputs or "-"),
            str(device.outputs or "-"),
            f"{device.default_rate_hz} Hz",
            " / ".join(latencies),
            ", ".join(marks),
        )
    console.print(table)
    console.print("rtserver live --input NAME --output NAME: a part of the name or the number", style="dim")
