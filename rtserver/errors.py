"""Errors that a person can act on."""

from __future__ import annotations


class UserError(Exception):
    """One line that says what went wrong, why, and what to do. `rtserver.cli` prints it and exits with `exit_code`."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
