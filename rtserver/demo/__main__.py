"""`python -m rtserver.demo`: starts a server, plays into it as a DAW would, and leaves what came out."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from rtserver.bench.stream import StreamOptions, connect, perform
from rtserver.bench.stream_report import Turn, describe
from rtserver.command_options import Precision
from rtserver.demo import clip as clips
from rtserver.errors import UserError

RATE_HZ = 48000
BLOCK_FRAMES = 128
RING_OUT_S = 1.0  # of silence after the clip, for the instrument to fade away


def main(
    clip: Annotated[Optional[Path], typer.Option(help="A recording to play; default: a whistled tune.")] = None,  # noqa: UP045
    model: Annotated[str, typer.Option("--model", "-m", metavar="FILE", help="Instrument pack.")] = "piano.pt",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server that is started.")] = 9000,
    margin: Annotated[str, typer.Option(metavar="live|balanced|studio", help="Latency spent on safety.")] = "live",
    precision: Precision = "auto",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where demo.wav, demo.png and demo.json go.")] = Path(
        "out"
    ),
) -> None:
    """Hear a clip as another instrument."""
    source = clips.melody(RATE_HZ) if clip is None else clips.recording(clip, RATE_HZ)
    what = "a whistled Ode to Joy" if clip is None else str(clip)
    options = StreamOptions(
        model, RATE_HZ, BLOCK_FRAMES, len(source) / RATE_HZ, margin=margin, port=port, precision=precision
    )
    options.check()
    turn, report = _translate(options, source, what)
    _leave(out, turn, report, what)


def _translate(options: StreamOptions, source: np.ndarray, what: str) -> tuple[Turn, dict[str, Any]]:
    """Play the clip through a server in real time; give what came out and the `bench stream` fields."""
    from rtserver.bench import first_sound, machine
    from rtserver.bench.own_server import OwnServer, port_in_use

    port = options.port or 0
    if port_in_use(port):
        raise UserError(
            f"port {port} is in use, perhaps by another rtserver (`rtserver status` tells);"
            f" stop that program, or `make demo PORT={port + 1 if port < 65535 else port - 1}`"
        )
    print(f"starting   rtserver --model {options.model} --port {port}", flush=True)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(OwnServer([options.model], port, arguments=options.server_arguments, wait=False))
        first_sound_s = first_sound.listen(options, server)
        server.wait_ready()
        stream = stack.enter_context(connect(options, options.model, server))
        stream.first_sound_s = first_sound_s
        latency = stream.latency.reported
        told = f"{latency} frames ({1000.0 * latency / RATE_HZ:.1f} ms) of latency"
        print(f"connected  first sound after {first_sound_s:.1f} s, {told}, blocks of {BLOCK_FRAMES} at {RATE_HZ} Hz")
        padded = np.pad(source, (0, latency + round(RING_OUT_S * RATE_HZ)))[:, None]
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(perform, options, stream, [np.ascontiguousarray(padded, np.float32)], server)
            _show_time(what, len(padded) / RATE_HZ, future.done)
            turn = future.result()
        stream.turns.append(turn)
        report = {**describe(options, stream), "resident_mb": server.resident_mb(), "machine": machine.describe()}
    assert turn.output is not None
    turn.source, turn.output = source, turn.output[latency : latency + len(source) + round(RING_OUT_S * RATE_HZ), 0]
    return turn, report


def _show_time(what: str, seconds: float, done: Any) -> None:
    """A progress bar on a terminal, one line elsewhere."""
    if not sys.stdout.isatty():
        print(f"playing    {what}, {seconds:.0f} s in real time", flush=True)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("playing    {task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, transient=False) as progress:
        task = progress.add_task(what, total=seconds)
        started_s = time.monotonic()
        pause = threading.Event()
        while not done() and time.monotonic() - started_s < seconds + 5.0:
            progress.update(task, completed=min(time.monotonic() - started_s, seconds))
            pause.wait(0.1)
        progress.update(task, completed=seconds)


def _leave(out: Path, turn: Turn, report: dict[str, Any], what: str) -> None:
    """Write sound, picture and figures; say in words what they are, and what to try next."""
    import soundfile

    from rtserver import pitch
    from rtserver.demo import picture

    source, output = turn.source, turn.output
    assert source is not None and output is not None
    try:
        out.mkdir(parents=True, exist_ok=True)
        soundfile.write(out / "demo_input.wav", source, RATE_HZ, "PCM_16")
        soundfile.write(out / "demo.wav", output, RATE_HZ, "PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise UserError(f"can't write to {out}: {error}; give another folder") from None
    tracks = pitch.track(source, RATE_HZ), pitch.track(output[: len(source)], RATE_HZ)
    agreement = pitch.agreement(*tracks)
    # JSON has no NaN: a figure that could not be had is null.
    figures = {name: value if np.isfinite(value) else None for name, value in asdict(agreement).items()}
    report = {**report, "input": what, "pitch_agreement": figures}
    (out / "demo.json").write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    told = (
        f"{agreement.within_50_cents:.0%} of frames within 50 cents where both are voiced"
        f" ({agreement.within_50_cents_any_octave:.0%} in any octave, {agreement.chance:.0%} by chance;"
        f" the output is voiced in {agreement.voiced_both:.0%} of the input's voiced frames)"
    )
    picture.draw(out / "demo.png", source, output, RATE_HZ, tracks, f"{what} -> {report['model']}: {told}")

    misses = report["misses"]
    print(f"pitch      {told}")
    print(f"misses     {misses} of {report['blocks']} blocks {report['misses_by_cause'] if misses else ''}")
    print(f"           {out}/demo.wav (heard), demo_input.wav (played), demo.png (look), demo.json (figures)")
    run = "rtserver" if sys.prefix == sys.base_prefix else str(Path(sys.prefix, "bin", "rtserver"))
    if Path(run).is_relative_to(Path.cwd()):
        run = str(Path(run).relative_to(Path.cwd()))
    model = report["model"]
    steps = [
        ("make demo CLIP=my.wav", "a recording of yours"),
        (f"{run} translate my.wav --model {model} -o out/mine.wav", "a whole file"),
        (f"{run} --model {model} --port 9000", "a server for hosts and programs"),
        (f"{run} bench stream --model {model}", "latency and misses on this machine"),
    ]
    if misses > 0.01 * report["blocks"]:
        steps.insert(0, (f"{run} doctor", "why blocks were missed, and what to fix"))
    width = max(len(command) for command, _ in steps)
    print("\nTry next:", *(f"  {command:<{width}}  {why}" for command, why in steps), sep="\n")


def run() -> int:
    """The command line, with every failure in one line."""
    try:
        command: Any = typer.main.get_command(_app())
        command.main(prog_name="python -m rtserver.demo", standalone_mode=False)
    except UserError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        print(f"demo: error: {error.format_message()}", file=sys.stderr)
        return 2
    return 0


def _app() -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    return app


if __name__ == "__main__":
    sys.exit(run())
