"""`rtserver` without a command: serve until Ctrl-C."""

from __future__ import annotations

import importlib.util
import logging
import re
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from rtserver import latency
from rtserver.command_options import Precision
from rtserver.control.options import ADMIT
from rtserver.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from rtserver.control.options import ServerOptions
    from rtserver.control.server import Server
    from rtserver.control.worker_process import WorkerProcess

DEFAULT_MODEL = "piano"


def register(app: typer.Typer) -> None:
    """Make serving what the command does when no subcommand is named."""

    @app.callback(invoke_without_command=True)
    def serve(
        context: typer.Context,
        model: Annotated[
            Optional[list[str]],  # noqa: UP045  typer on Python 3.10 wants it spelled out
            typer.Option("--model", "-m", metavar="FILE", help="Instrument pack; repeat for more. Default: piano."),
        ] = None,
        port: Annotated[int, typer.Option(min=1, max=65535, help="UDP port of OSC, TCP port of HTTP.")] = 9000,
        host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback --key is needed.")] = "127.0.0.1",
        key: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(metavar="SECRET|@FILE", envvar="RTSERVER_KEY", help="Shared secret that seals every message."),
        ] = None,
        margin: Annotated[
            str,
            typer.Option(metavar="live|balanced|studio|MS", help="Latency spent on safety: 5, 15, 60 or so many ms."),
        ] = "live",
        device: Annotated[str, typer.Option(metavar="auto|cpu|cuda:N", help="Where the networks run.")] = "auto",
        precision: Precision = "auto",
        temperature: Annotated[
            float, typer.Option(min=0.0, max=2.0, help="Of the decoder's sampling, for new sessions.")
        ] = 1.0,
        pin: Annotated[
            bool,
            typer.Option(
                "--pin/--no-pin", envvar="RTSERVER_PIN", help="Keep encoder and decoder on cores of their own."
            ),
        ] = True,
        admit: Annotated[
            str,
            typer.Option(metavar="|".join(ADMIT), help="Live sessions: as many as fit the machine, or all."),
        ] = ADMIT[0],
        announce: Annotated[
            bool, typer.Option("--announce", help="Tell programs on the network about this server (zeroconf).")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No banner.")] = False,
        version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    ) -> None:
        if context.invoked_subcommand is not None:
            return
        if version:
            from rtserver.version import rtserver_version

            print(f"rtserver {rtserver_version()}")
            return
        try:
            latency.margin_ms(margin)
        except ValueError as error:
            raise UserError(f"--margin: {error}") from None
        if admit not in ADMIT:
            raise UserError(f"--admit: expected {' or '.join(ADMIT)}, found {admit}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?", device):
            raise UserError(f"--device {device}: choose auto, cpu or cuda:N")
        if announce and importlib.util.find_spec("zeroconf") is None:
            raise UserError("--announce needs the package zeroconf: pip install 'rtserver[announce]'")
        run(model or [], host, port, read_key(key), margin, precision, temperature, pin, admit, announce, quiet, device)


def read_key(text: str | None) -> bytes | None:
    """The bytes of a key given as text, or as @FILE to keep it out of the list of processes."""
    if text is None:
        return None
    if text.startswith("@"):
        try:
            key = Path(text[1:]).expanduser().read_bytes().strip()
        except OSError as error:
            raise UserError(f"--key {text}: {error.strerror}; name a file that holds the key") from None
    else:
        key = text.encode()
    if not key:
        raise UserError("--key is empty; give at least a few letters, the same on both sides")
    return key


def run(
    models: list[str],
    host: str,
    port: int,
    key: bytes | None,
    margin: str,
    precision: str,
    temperature: float,
    pin: bool,
    admit: str,
    announce: bool,
    quiet: bool,
    device: str = "auto",
) -> None:
    """Serve until SIGINT or SIGTERM. UserError when that can't be."""
    from rtserver.control.options import ServerOptions
    from rtserver.control.worker_process import WorkerProcess

    options = ServerOptions(
        tuple(models),
        host,
        port,
        key,
        margin,
        device,
        precision=precision,
        temperature=temperature,
        pin=pin,
        admit=admit,
        announce=announce,
    )
    worker = WorkerProcess(options.for_worker)  # it starts while the rest is imported here
    try:
        _run(options, worker, quiet)
    finally:
        worker.end()


def _run(options: ServerOptions, worker: WorkerProcess, quiet: bool) -> None:
    import asyncio

    from rich.console import Console
    from rich.markup import escape

    from rtserver.control.server import serve

    console = Console(stderr=True, quiet=quiet, highlight=False, width=None if sys.stderr.isatty() else 120)
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("rtserver").setLevel(level)
    options = replace(options, models=options.models or tuple(default_models(console)))
    with console.status("starting") as spinner:

        def progress(name: str) -> None:
            spinner.update(f"loading {escape(name)}")
            if not console.is_terminal:
                console.print(f"loading {name}", markup=False)

        def on_ready(server: Server) -> None:
            spinner.stop()
            banner(server, console)

        asyncio.run(serve(options, progress, on_ready, worker))
    console.print("stopped")


def default_models(console: Console) -> list[str]:
    """The shipped piano; without it the probes alone."""
    from rtserver import model_file

    if DEFAULT_MODEL in model_file.shipped():
        return [DEFAULT_MODEL]
    console.print(
        f"[yellow]no {DEFAULT_MODEL}.pt is shipped: serving the probes only; name a pack with --model[/yellow]"
    )
    return []


def _reachable(host: str) -> str:
    """An address that a phone can type: the one listened on, or the name of this machine where that is all of them."""
    from rtserver.control.listening import EVERYWHERE

    if host in EVERYWHERE:
        return f"{socket.gethostname().split('.')[0]}.local"
    return f"[{host}]" if ":" in host else host


def banner(server: Server, console: Console) -> None:
    """Tell what is served, how late it is, and how to connect."""
    from rich.markup import escape
    from rich.table import Table

    from rtserver.commands.status import describe_threads
    from rtserver.control.listening import LOOPBACK
    from rtserver.control.sessions import compute_parts
    from rtserver.version import rtserver_version

    options, worker = server.options, server.worker
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for model in server.catalog:
        if model.kind != "model" and model.name not in options.models:
            continue
        parts = compute_parts(model, 48000, 128, options.margin, 0.0, 0)
        decoders = f": {', '.join(model.decoders)}" if model.decoders else ""
        default = " (default)" if model.name == server.catalog.default else ""
        table.add_row("model", escape(f"{model.name}{default}{decoders}"))
        table.add_row(
            "", f"latency {1000 * parts.reported / 48000:.1f} ms at 48 kHz, 128 frames, {options.margin} margin"
        )
    table.add_row("probes", "loopback, identity16k")
    host = f"[{options.host}]" if ":" in options.host else options.host
    local = host if options.host in LOOPBACK else "127.0.0.1"
    where = f"--port {options.port}" + ("" if options.host == "127.0.0.1" else f" --host {options.host}")
    sealed = ", sealed with the key" if options.key else ""
    table.add_row("control", escape(f"osc.udp://{host}:{options.port}{sealed}"))
    elsewhere = "" if options.host in LOOPBACK else f", elsewhere http://{_reachable(options.host)}:{options.port}"
    table.add_row("dashboard", escape(f"http://{local}:{options.port}{elsewhere}"))
    table.add_row("status", escape(f"http://{local}:{options.port}/status or `rtserver status {where}`"))
    if worker is not None:
        table.add_row("device", f"cpu, {worker.isa}, {server.precision}")
        advice = "" if worker.realtime_granted else "; see `rtserver doctor`"
        table.add_row("threads", escape(describe_threads(worker.scheduling, worker.memory) + advice))
    table.add_row("connect", f"plugin or rtserver.client.Bridge(port={options.port}); try `make demo`. Ctrl-C stops.")
    console.print(f"[bold green]rtserver {rtserver_version()} is ready[/bold green]")
    console.print(table)
