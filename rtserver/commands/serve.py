"""`rtserver` without a command: serve."""

from __future__ import annotations

from typing import Annotated, Optional

import typer


def register(app: typer.Typer) -> None:
    """Make serving what the command does when no subcommand is named."""

    @app.callback(invoke_without_command=True)
    def serve(
        context: typer.Context,
        model: Annotated[
            Optional[list[str]],  # noqa: UP045  typer on Python 3.10 wants it spelled out
            typer.Option(
                "--model", "-m", metavar="FILE", help="Instrument pack, or loopback or identity16k. May be repeated."
            ),
        ] = None,
        port: Annotated[int, typer.Option(min=1, max=65535, help="UDP port of OSC, TCP port of HTTP.")] = 9000,
        host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback --key is needed.")] = "127.0.0.1",
        key: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(metavar="SECRET|@FILE", envvar="RTSERVER_KEY", help="Shared secret that seals every packet."),
        ] = None,
        margin: Annotated[
            str, typer.Option(metavar="live|balanced|studio", help="Latency spent on safety: 5, 15 or 60 ms.")
        ] = "live",
        device: Annotated[str, typer.Option(metavar="auto|cpu|cuda:N", help="Where the networks run.")] = "auto",
        precision: Annotated[str, typer.Option(metavar="float32", help="Arithmetic of the decoder.")] = "float32",
        temperature: Annotated[
            float, typer.Option(min=0.0, max=2.0, help="Of the decoder's sampling, for new sessions.")
        ] = 1.0,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No banner.")] = False,
        version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    ) -> None:
        if context.invoked_subcommand is not None:
            return
        if version:
            from importlib.metadata import PackageNotFoundError
            from importlib.metadata import version as installed

            try:
                print(f"rtserver {installed('rtserver')}")
            except PackageNotFoundError:
                print("rtserver (not installed)")
            return
        raise NotImplementedError
