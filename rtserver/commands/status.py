"""`rtserver status`: what the running server does."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Optional

import typer

from rtserver.commands.serve import read_key


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def status(
        port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server.")] = 9000,
        host: Annotated[str, typer.Option(help="Machine of the server.")] = "127.0.0.1",
        key: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(metavar="SECRET|@FILE", envvar="RTSERVER_KEY", help="The server's key, if it has one."),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """Show sessions, latency, misses and load of the running server."""
        from rtserver.client import server_status

        seen = server_status(port, host, read_key(key))
        if as_json:
            print(json.dumps(seen))
        else:
            show(seen)


def describe_threads(scheduling: dict[str, Any], memory: dict[str, Any]) -> str:
    """What was granted to the worker's threads, in a line; see Scheduler, CorePlan and LockedMemory."""
    from rtserver.worker.scheduling import WAYS

    if scheduling["realtime"]:
        told = [f"real-time priority {WAYS[scheduling['realtime']]}"]
    else:
        told = [f"no real-time priority ({scheduling['why_not_realtime']})"]
    if scheduling.get("threads_refused"):
        told.append(f"{scheduling['threads_refused']} threads refused")
    if scheduling["pinned"]:
        decoders = " ".join(map(str, scheduling["decoder_cores"]))
        told.append(f"decoder on core {decoders}, encoder on core {scheduling['encoder_core']}")
    else:
        told.append(f"not pinned ({scheduling['why_not_pinned']})")
    locked = {"all": "memory locked", None: f"memory not locked ({memory['why_not_locked']})"}
    told.append(locked.get(memory["locked"], f"{memory['locked']} locked up to {memory['limit_mb']} MB"))
    return ", ".join(told)


def show(seen: dict[str, Any]) -> None:
    """Print a status for a person."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    worker, osc, memory = seen["worker"], seen["osc"], seen["resident_mb"]
    console.print(
        f"[bold]rtserver {seen['version']}[/bold] {seen['state']}, process {seen['pid']}, up {seen['uptime_s']:.0f} s,"
        f" {seen['host']}:{seen['port']}{', sealed' if seen['sealed'] else ''}, {seen['margin']} margin"
    )
    console.print(
        f"worker {worker['state']}, process {worker['pid']}, {worker['device']} {worker['isa']} {worker['precision']},"
        f" {worker['restarts']} restarts,"
        f" memory {memory['worker']} MB (control {memory['control']} MB)"
    )
    if worker["scheduling"]:
        console.print("threads " + describe_threads(worker["scheduling"], worker["memory"]), markup=False)
    for ensemble in worker["ensembles"]:
        if ensemble["chunks"]:
            where = "any core" if ensemble["core"] is None else f"core {ensemble['core']}"
            console.print(
                f"rendering on {where}{', offline' if ensemble['bounces'] else ''}: {ensemble['sessions']} sessions,"
                f" {ensemble['together']} generated together, busy {ensemble['busy_s']} s"
            )
    capacity = seen["capacity"]
    loads = [*(core["load"] for core in capacity["decoder_cores"]), capacity["encoder_core"]["load"]]
    decoders = ", ".join(f"{100 * load:.0f}%" for load in loads[:-1])
    limit = f"up to {100 * capacity['room']:.0f}%" if capacity["admit"] == "measured" else "all sessions are admitted"
    console.print(
        f"taken by live sessions: decoder cores {decoders}, encoder core {100 * loads[-1]:.0f}% ({limit});"
        f" {capacity['refused']} refused{_fare(capacity)}"
    )
    names = (f"{m['name']}{' ' + str(m['decoders']) if m.get('decoders') else ''}" for m in seen["models"])
    console.print("models " + ", ".join(names), markup=False)
    console.print(
        f"osc {osc['received']} received, {osc['dropped_total']} dropped {osc['dropped'] or ''}", markup=False
    )
    if not seen["sessions"]:
        console.print("no sessions")
        return
    table = Table()
    for title in ("session", "model", "audio", "client", "latency", "blocks", "misses", "encoder+decoder", "load"):
        table.add_column(title)
    for session in seen["sessions"]:
        causes = {cause: count for cause, count in session["misses_by_cause"].items() if count}
        spent = [session["encoder_us_per_hop"], session["decoder_us_per_hop"]]
        table.add_row(
            f"{session['session']}.{session['generation']} {session['state']}",
            escape(f"{session['model']} {session['parameters'].get('decoder', '')}"),
            f"{session['transport']} {session['sample_rate_hz']} Hz {session['block_frames']} x {session['channels']}",
            str(session["client_pid"] if session["transport"] == "shm" else session["client_address"]),
            f"{session['latency_ms']} ms",
            str(session["blocks"]),
            f"{session['misses']} {causes or ''}",
            "+".join("-" if us is None else f"{us:.0f}" for us in spent) + " us/hop",
            "-" if session["load"] is None else f"{100 * session['load']:.0f}%",
        )
    console.print(table)


def _fare(capacity: dict[str, Any]) -> str:
    """How those fare that play, as far as it keeps others out or prices them."""
    factors = (f"{model} {factor['decoder']:.2f}" for model, factor in capacity["in_service"].items())
    told = "; decoding takes, of what it took at rest: " + ", ".join(factors) if capacity["in_service"] else ""
    if capacity["begun"]:
        told += f"; {capacity['begun']} just begun"
    return told + (f"; {capacity['missing']} miss blocks: nobody more gets in" if capacity["missing"] else "")
