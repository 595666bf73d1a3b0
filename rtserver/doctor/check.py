"""The one record that every examination answers with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["ok", "note", "warning", "unusable"]


@dataclass(frozen=True)
class Check:
    """found: in a line. fix: what to do about it, "" when nothing. data: the same for programs.

    note: works, but a person may want to know; warning: something will be missing or late; unusable: rtserver can't
    run.
    """

    name: str
    state: State
    found: str
    fix: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
