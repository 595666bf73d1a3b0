"""The `rtserver` command: gathers the modules of `rtserver.commands` and turns every failure into one line.

Importing this module must stay cheap (no typer, nothing of weight): the audio worker's process imports it again.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from rtserver.errors import UserError

if TYPE_CHECKING:
    import typer

HELP = """
Sing, whistle or play anything, and hear an instrument, live.

Without a command, rtserver [bold]serves[/bold]: it loads the models, waits for audio clients on this machine
(shared memory) or on another one (OSC), and translates what they send within a fixed latency.

  [green]rtserver --model piano.pt --port 9000[/green]   serve an instrument
  [green]rtserver --model loopback[/green]               no network: tests the path of audio alone
  [green]rtserver status[/green]                         what the running server does
  [green]rtserver translate in.wav --model piano.pt -o out.wav[/green]
"""


class Terminated(BaseException):
    """SIGTERM arrived; unwinds the stack so that everything opened is closed."""


def build_app() -> typer.Typer:
    """The whole command line. `serve` is the root itself, every other module of `rtserver.commands` a subcommand."""
    import typer

    from rtserver import commands

    app = typer.Typer(
        name="rtserver",
        help=HELP,
        rich_markup_mode="rich",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in sorted(module.name for module in pkgutil.iter_modules(commands.__path__)):
        if not name.startswith("_"):
            importlib.import_module(f"rtserver.commands.{name}").register(app)
    return app


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def _fail(message: str) -> None:
    print(f"rtserver: error: {message}", file=sys.stderr, flush=True)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status. Never raises for anything a user can cause."""
    try:
        signal.signal(signal.SIGTERM, _terminate)
        result = _run_command(argv)
        sys.stdout.flush()
        return result
    except UserError as error:
        _fail(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Terminated:
        return 128 + signal.SIGTERM
    except BrokenPipeError:  # `rtserver info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing value
            _fail(f"{' '.join(error.format_message().split()).rstrip('.')}; try 'rtserver --help'")
            return int(getattr(error, "exit_code", 2))
        if os.environ.get("RTSERVER_DEBUG"):
            raise
        _fail(f"{type(error).__name__}: {' '.join(str(error).split())} (a bug; RTSERVER_DEBUG=1 shows where)")
        return 1


def _run_command(argv: Sequence[str] | None) -> int:
    import typer

    command: Any = typer.main.get_command(build_app())
    try:
        result = command.main(args=None if argv is None else list(argv), prog_name="rtserver", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.Exit as ended:
        return int(ended.exit_code)
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run())
