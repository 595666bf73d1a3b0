"""`rtserver import-checkpoint`: checkpoints of the official music-translation code into a pack."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from rtserver.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("import-checkpoint")
    def import_checkpoint(
        checkpoints: Annotated[
            list[Path],
            typer.Argument(
                metavar="CHECKPOINT...", help="lastmodel_N.pth or bestmodel_N.pth files, or an experiment's folder."
            ),
        ],
        output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.pt", help="The pack to write.")],
        args: Annotated[
            Optional[Path],  # noqa: UP045
            typer.Option(
                metavar="args.pth", help="The experiment's arguments; beside the first checkpoint if not said."
            ),
        ] = None,
        names: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(metavar="NAME,NAME", help="Names of the decoders; by default those of the data folders."),
        ] = None,
        half: Annotated[bool, typer.Option("--half", help="Keep weights as float16: half the size, rounded.")] = False,
    ) -> None:
        """Make a pack of checkpoints of the official music-translation code (a decoder each, one encoder)."""
        try:
            from models.official import read_experiment
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "models":
                raise
            raise UserError(
                "importing needs the `models` folder of a checkout, which an installed rtserver lacks;"
                " run this command in a clone of the repository"
            ) from None
        from rtserver.model_file import save

        files = [file for path in checkpoints for file in _files(path)]
        found = read_experiment(files, args or files[0].with_name("args.pth"), _split(names))
        save(output, found.config, found.encoder, found.decoders, found.card, half=half)
        print(f"{output}: decoders {', '.join(found.decoders)}", file=sys.stderr)


def _files(path: Path) -> list[Path]:
    """A file as it is; of a folder, the last checkpoint of every domain."""
    if path.is_dir():
        files = sorted(path.glob("lastmodel_*.pth"))
        if not files:
            raise UserError(f"{path} has no lastmodel_N.pth; give an experiment's folder, or checkpoint files")
        return files
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; check the path")
    return [path]


def _split(names: str | None) -> list[str]:
    found = [name.strip() for name in names.split(",")] if names else []
    if len(set(found)) != len(found) or not all(found):
        raise UserError(f"decoder names {names!r} must differ and not be empty; separate them by commas")
    return found
