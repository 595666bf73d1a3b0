"""`rtserver doctor`: what this machine can do, and what to fix."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rtserver.doctor.check import Check

MARKS = {
    "ok": "[green]ok[/green]",
    "note": "[cyan]note[/cyan]",
    "warning": "[yellow]warn[/yellow]",
    "unusable": "[red]no[/red]",
}


def register(app: typer.Typer) -> None:
    """Add `doctor` to the command line."""

    @app.command()
    def doctor(
        port: Annotated[int, typer.Option(min=1, max=65535, help="Port that you mean to serve on.")] = 9000,
        json_output: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    ) -> None:
        """Look at this machine: instruction set, GPU, audio devices, speed of each model, and what to fix.

        Exits with 1 only if rtserver can't run here at all.
        """
        checks = list(examine(port))
        usable = all(check.state != "unusable" for check in checks)
        if json_output:
            from rtserver.bench.machine import describe

            by_name = [check.to_dict() for check in checks]
            problems = [check for check in by_name if check["state"] in ("warning", "unusable")]
            json.dump(
                {"machine": describe(), "usable": usable, "checks": by_name, "problems": problems}, sys.stdout, indent=2
            )
            print()
        else:
            show(checks)
        raise typer.Exit(0 if usable else 1)


def examine(port: int) -> Iterator[Check]:
    """Every check, the quick ones first."""
    from rtserver.doctor import machine, packages, speed, threads

    realtime = threads.realtime() if _engine_there() else None
    for check in (
        machine.processor(),
        machine.governor(),
        realtime,
        threads.pinning(realtime is not None and bool(realtime.data["granted"])),
        threads.locked_pages(),
        machine.shared_memory(),
        machine.stale_segments(),
        machine.port(port),
        packages.onnx_runtime(),
        packages.graphics(),
        packages.audio_devices(),
    ):
        if check is not None:
            yield check
    if _engine_there():
        yield from speed.models()


def _engine_there() -> bool:
    try:
        import rtserver._engine  # noqa: F401
    except ImportError:
        return False
    return True


def show(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        told = escape(check.found) + (f"\n[dim]{escape(check.fix)}[/dim]" if check.fix else "")
        table.add_row(MARKS[check.state], check.name, told)
    Console().print(table)
