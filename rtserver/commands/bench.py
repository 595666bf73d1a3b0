"""`rtserver bench decoder|encoder|stream`: measure on this machine, in words or as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional, cast

import typer

from rtserver.command_options import Precision
from rtserver.errors import UserError

# Options are spelled Optional: typer reads the annotations at run time.
Preset = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="live|paper|constant_q", help="A network of this shape, random weights."),
]
ModelName = Annotated[Optional[str], typer.Option("--model", "-m", metavar="FILE", help="An instrument pack.")]  # noqa: UP045
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda:N", help="Where the network runs.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="How long to measure.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add `bench` and its three measurements to the command line."""
    bench = typer.Typer(
        help="Measure this machine: the decoder, the encoder, or the whole path of audio.", no_args_is_help=True
    )
    bench.command()(decoder)
    bench.command()(encoder)
    bench.command()(stream)
    app.add_typer(bench, name="bench")


def decoder(
    preset: Preset = None,
    model: ModelName = None,
    layers: Annotated[Optional[int], typer.Option(min=1, help="Other than the preset's.")] = None,  # noqa: UP045
    channels: Annotated[Optional[int], typer.Option(min=1, help="Other than the preset's.")] = None,  # noqa: UP045
    precision: Precision = "auto",
    slots: Annotated[int, typer.Option(min=1, help="Streams at once, all on one core.")] = 1,
    device: Device = "cpu",
    json_output: AsJson = False,
) -> None:
    """The WaveNet engine beside PyTorch with cached queues, and beside a plain read of its weights."""
    from rtserver.bench import decoder as bench

    report = bench.run(
        preset=preset, model=model, layers=layers, channels=channels, precision=precision, slots=slots, device=device
    )
    _print(report, json_output, _pairs)


def encoder(
    preset: Preset = None,
    model: ModelName = None,
    precision: Precision = "auto",
    device: Device = "cpu",
    onnx: Annotated[bool, typer.Option("--onnx", help="ONNX Runtime on the CPU beside it, in float32.")] = False,
    seconds: Seconds = 3.0,
    json_output: AsJson = False,
) -> None:
    """The encoder hop by hop, as the audio worker runs it."""
    from rtserver.bench import encoder as bench

    report = bench.run(preset=preset, model=model, device=device, seconds=seconds, precision=precision, onnx=onnx)
    _print(report, json_output, _pairs)


def stream(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="FILE", help="An instrument pack, or loopback or identity16k.")
    ] = "identity16k",
    rate: Annotated[int, typer.Option(metavar="HZ", help="Host sample rate.")] = 48000,
    block: Annotated[str, typer.Option(metavar="N|varying", help="Frames a block; varying: 1 to 1024.")] = "128",
    seconds: Annotated[float, typer.Option(help="Real time to play, of each model.")] = 10.0,
    transport: Annotated[str, typer.Option(metavar="shm|osc", help="Shared memory, or packets as from afar.")] = "shm",
    clients: Annotated[int, typer.Option(help="Clients at once.")] = 1,
    channels: Annotated[int, typer.Option(help="1 or 2.")] = 1,
    margin: Annotated[
        str, typer.Option(metavar="live|balanced|studio|MS", help="Latency spent on safety: 5, 15 or 60 ms.")
    ] = "live",
    flood: Annotated[
        int, typer.Option(metavar="N", help="After each minute another with N control messages a second.")
    ] = 0,
    alternate_with: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="Another model, played minute by minute in turn; identity16k for the floor."),
    ] = None,
    precision: Precision = "auto",
    device: Device = "auto",
    port: Annotated[Optional[int], typer.Option(min=1, max=65535, help="Of the server; default: a free one.")] = None,  # noqa: UP045
    json_output: AsJson = False,
) -> None:
    """The whole path in real time: starts a server, plays through it, reports latency, round trips and misses."""
    from rtserver.bench.stream import StreamOptions, run_stream

    if block != "varying" and not block.isdecimal():
        raise UserError(f"block {block!r} is not possible: give a number of frames, or varying")
    options = StreamOptions(
        model=model,
        rate_hz=rate,
        block=block if block == "varying" else int(block),
        seconds=seconds,
        transport=cast(Literal["shm", "osc"], transport),
        clients=clients,
        margin=margin,
        channels=channels,
        flood=flood,
        alternate_with=alternate_with,
        port=port,
        precision=precision,
        device=device,
    )
    report = run_stream(options, lambda line: print(line, file=sys.stderr, flush=True))
    _print(report, json_output, show_stream)


def _print(report: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        json.dump(report, sys.stdout, indent=2)
        print()
    else:
        show(report)


def _pairs(report: dict[str, Any]) -> None:
    """A report as it is, a line a field."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(name) for name in report)
    for name, value in report.items():
        if isinstance(value, dict):
            told = "  ".join(f"{key} {item}" for key, item in value.items())
        else:
            told = f"{value:,.3f}" if isinstance(value, float) else str(value)
        console.print(f"[dim]{name:<{width}}[/dim]  {told}", markup=True)


def show_stream(report: dict[str, Any]) -> None:
    """The latency contract, the round trips and the misses of one stream (and of its alternate)."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    columns = [report, *([report["alternate"]] if "alternate" in report else [])]
    rate_hz = report["sample_rate_hz"]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column(f"{rate_hz} Hz, blocks of {report['block_frames']}, {report['transport']}, {report['margin']}")
    for column in columns:
        table.add_column(str(column["model"]), justify="right")

    def row(name: str, tell: Callable[[dict[str, Any]], str], style: str = "") -> None:
        table.add_row(name, *(tell(column) for column in columns), style=style)

    for part in ("block", "resampling", "lookahead", "hop", "margin", "jitter"):
        if any(column["latency_frames"][part] for column in columns):
            row(f"  {part}", lambda column, part=part: _frames(column["latency_frames"][part], rate_hz))  # type: ignore[misc]
    row("latency, reported", lambda column: _frames(column["latency_frames"]["reported"], rate_hz), "bold")
    row("latency, measured", lambda column: _measured(column, rate_hz))
    row("round trip p50 / p99", lambda column: _trips(column, "p50", "p99"))
    row("round trip p99.9 / max", lambda column: _trips(column, "p999", "max"))
    row("blocks", lambda column: f"{column['blocks']:,}")
    row("misses", lambda column: f"{column['misses']:,}", "bold")
    for cause in sorted({cause for column in columns for cause in column["misses_by_cause"]}):
        row(f"  {cause}", lambda column, cause=cause: f"{column['misses_by_cause'].get(cause, 0):,}")  # type: ignore[misc]
    row(
        "stolen by the machine's host", lambda column: "?" if column["steal_ms"] is None else f"{column['steal_ms']} ms"
    )
    row("first sound", lambda column: "-" if column["first_sound_s"] is None else f"{column['first_sound_s']} s")
    console.print(table)
    decoding = report["rendering"]
    if decoding["together"] is not None:
        console.print(
            f"decoder: {100 * decoding['busy']:.0f}% of a core for {report['clients']} clients,"
            f" {decoding['together']} of them generated together on average",
            style="dim",
        )
    if report.get("resident_mb") is not None:
        console.print(f"server: {report['resident_mb']} MB resident; {report['machine']['processor']}", style="dim")


def _frames(frames: float, rate_hz: int) -> str:
    return f"{frames:g} ({1000.0 * frames / rate_hz:.2f} ms)"


def _measured(column: dict[str, Any], rate_hz: int) -> str:
    measured = column["latency_frames"]["measured"]
    if measured is None:
        return "-"
    exact = {True: ", bit-exact", False: ", NOT bit-exact", None: ""}[column["bit_exact"]]
    return _frames(measured, rate_hz) + exact


def _trips(column: dict[str, Any], first: str, second: str) -> str:
    trip = column["round_trip_us"]
    return " / ".join("-" if trip[mark] is None else f"{trip[mark] / 1000.0:.2f} ms" for mark in (first, second))
