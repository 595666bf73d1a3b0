"""`rtserver live`: a microphone in, an instrument out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from rtserver import latency
from rtserver.command_options import Precision
from rtserver.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(live)


# Options are spelled Optional: typer reads the annotations at run time.
def live(
    model: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--model", "-m", metavar="FILE", help="Instrument pack; repeat for more. Default: piano."),
    ] = None,
    input_device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--input", "-i", metavar="NAME|N", help="Microphone, by number or a part of its name."),
    ] = None,
    output_device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--output", "-o", metavar="NAME|N", help="Headphones, likewise. Both are remembered."),
    ] = None,
    choose: Annotated[bool, typer.Option("--choose", help="Pick both from a list.")] = False,
    rate: Annotated[int | None, typer.Option(min=8000, max=384000, metavar="HZ", help="Default: the device's.")] = None,
    block: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=8192, metavar="FRAMES", help="Of a driver's call; default: as the driver likes."),
    ] = None,
    driver_latency: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--latency", min=0.0, metavar="MS", help="Asked of the driver; default: its lowest stable one."),
    ] = None,
    channels: Annotated[int, typer.Option(min=1, max=2, help="Of the microphone; the network hears their mean.")] = 1,
    first_channel: Annotated[int, typer.Option(min=1, metavar="N", help="Of the input device, the first used.")] = 1,
    margin: Annotated[
        str,
        typer.Option(
            metavar="auto|live|balanced|studio|MS",
            help="Latency spent on safety: 5, 15, 60 or so many ms. auto: 5 with JACK, ASIO, CoreAudio and bare"
            " devices, 15 where a sound server calls now and then too late.",
        ),
    ] = latency.AUTO_MARGIN,
    gate: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=-90.0, max=0.0, metavar="DB", help="Input below this is silence to the network."),
    ] = None,
    guard: Annotated[bool, typer.Option("--guard/--no-guard", help="Catch howling feedback.")] = True,
    muted: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--muted/--unmuted", help="Default: muted if microphone and speakers are the built-in pair."),
    ] = None,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="WASAPI: the device for this program alone.")] = False,
    midi: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="PORT", help="A part of a port's name, `virtual`, HOST:PORT or listen:PORT."),
    ] = None,
    midi_map: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="What controllers do (TOML); default: what was learned."),
    ] = None,
    record: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FOLDER", help="Record dry and wet into this folder, from the start."),
    ] = None,
    port: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=65535, help="Play through the server there, or start one there."),
    ] = None,
    precision: Precision = "auto",
    seconds: Annotated[Optional[float], typer.Option(min=0.0, help="Stop after so long.")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="Two JSON objects a second instead of the screen.")] = False,
) -> None:
    """Sing, whistle or play into a microphone and hear an instrument in your headphones, now."""
    from rtserver.live.performance import LiveOptions, perform

    try:
        if margin != latency.AUTO_MARGIN:
            latency.margin_ms(margin)
    except ValueError as error:
        raise UserError(f"--margin: {error}") from None
    if choose:
        input_device, output_device = _choose("input"), _choose("output")
    perform(
        LiveOptions(
            models=tuple(model or ()),
            source=input_device,
            target=output_device,
            rate_hz=rate or 0,
            block=block or 0,
            channels=channels,
            first_input=first_channel - 1,
            latency_ms=driver_latency,
            margin=margin,
            exclusive=exclusive,
            guard=guard,
            muted=muted,
            gate_db=gate,
            midi=midi,
            midi_map=midi_map,
            record=record,
            port=port,
            precision=precision,
            seconds=seconds,
            as_json=as_json,
        )
    )


def _choose(direction: str) -> str:
    """Ask which device. The list comes from another process: PortAudio belongs into the audio process alone."""
    command = [sys.executable, "-m", "rtserver", "devices", "--json"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode:
        raise UserError(listing.stderr.strip().removeprefix("rtserver: error: ") or "the devices can't be listed")
    able: list[dict[str, Any]] = [
        device for device in json.loads(listing.stdout)["devices"] if device[f"{direction}s"] > 0
    ]
    if not able:
        from rtserver.live.devices import none_found

        raise UserError(none_found("input" if direction == "input" else "output"))
    for device in able:
        print(f"{device['number']:3}  {device['name']} ({device['host_api']})", file=sys.stderr)
    default = next((d["number"] for d in able if d[f"default_{direction}"]), able[0]["number"])
    numbers = {str(device["number"]): device for device in able}
    while True:
        answer = str(typer.prompt(f"{direction} device", default=str(default), err=True)).strip()
        if answer in numbers:
            return f"{numbers[answer]['name']} ({numbers[answer]['host_api']})"
        print(f"{answer} is not in the list", file=sys.stderr)
