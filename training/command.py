"""What the commands of training share: what is wrong with what was typed ends the program with one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rtserver.errors import UserError
from training.settings import Settings

T = TypeVar("T")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A pack, a run or a file that is missing or not what it should be: one line on standard error, status 1."""
    try:
        yield
    except (UserError, OSError) as error:
        sys.exit(f"{error}")


def read_or_end(read: Callable[[Path], T], path: Path) -> T:
    """What `read` makes of a TOML file; ends the program with one line if that is wrong or not there."""
    try:
        return read(path)
    except FileNotFoundError:
        sys.exit(f"{path}: no such configuration; those that come along are in training/configs")
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"{error}")


def configured(path: Path, **changes: Any) -> Settings:
    """Settings of a file, with other values in [train] where they are not None. Ends the program if they are wrong."""
    settings = read_or_end(Settings.read, path)
    try:
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(settings, train=replace(settings.train, **given))
    except (ValueError, TypeError) as error:
        sys.exit(f"{error}")
