"""What a controller's messages mean, read from a TOML file and written back when a controller is taught.

[control]                  # control change number = parameter, over its whole range, or over a part of it
1 = "mix"
7 = { parameter = "output_gain_db", low = -40.0, high = 6.0 }
64 = "mute"                # mute, panic, next, previous, record: above 63, on the way up

[program]                  # program change number = instrument, by name or by place; without this table by place
0 = "piano"

[note]                     # note number = action or instrument
36 = "panic"

channel = 1                # optional: listen to this one alone
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rtserver import osc
from rtserver.errors import UserError
from rtserver.live import settings

ACTIONS = ("mute", "panic", "next", "previous", "record")
RANGES: dict[str, tuple[float, float]] = {
    name: (float(argument.low), float(argument.high))
    for name, argument in osc.PARAMETERS.items()
    if argument.low is not None and argument.high is not None and name not in ("seed", "panic")
}
LEARNABLE = ("mix", "output_gain_db", "input_gain_db", "gate_db", "temperature", "bypass", *ACTIONS)


@dataclass(frozen=True)
class Control:
    """What a controller moves: a parameter from `low` at 0 to `high` at 127, or an action."""

    target: str
    low: float = 0.0
    high: float = 1.0

    def value(self, position: int) -> float:
        return self.low + (self.high - self.low) * position / 127.0


@dataclass(frozen=True)
class Mapping:
    """A file's content. channel: 0 to 15, None listens to all."""

    controls: dict[int, Control] = field(default_factory=dict)
    programs: dict[int, str | int] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    channel: int | None = None

    def with_control(self, number: int, target: str) -> Mapping:
        """The same with one controller more; what it moved before is forgotten, and so is what moved this before."""
        kept = {n: c for n, c in self.controls.items() if c.target != target}
        return replace(self, controls={**kept, number: control_for(target)})


def control_for(target: str) -> Control:
    if target in ACTIONS:
        return Control(target)
    if target not in RANGES:
        raise UserError(f"{target!r} can't be controlled; there is {', '.join(LEARNABLE)}")
    return Control(target, *RANGES[target])


DEFAULT = Mapping({1: control_for("mix"), 7: Control("output_gain_db", -40.0, 6.0), 64: control_for("mute")})


def learned_file() -> Path:
    """Where taught controllers are kept."""
    return settings.folder() / "midi.toml"


def load(path: Path | None) -> Mapping:
    """A file's mapping; None: what was learned, else modulation wheel = mix, volume = output gain, pedal = mute.

    UserError naming what is wrong in it.
    """
    if path is None:
        path = learned_file()
        if not path.exists():
            return DEFAULT
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise UserError(f"--midi-map {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    return parse(table, str(path))


def parse(table: dict[str, Any], where: str) -> Mapping:
    """A mapping from a TOML table. UserError for anything that is not in the form above."""
    unknown = set(table) - {"control", "program", "note", "channel"}
    if unknown:
        raise UserError(f"{where}: {', '.join(sorted(unknown))} is unknown; there is control, program, note, channel")
    channel = table.get("channel")
    if channel is not None and not (isinstance(channel, int) and 1 <= channel <= 16):
        raise UserError(f"{where}: channel is {channel!r}, must be 1 to 16")
    controls = {number: _control(value, where) for number, value in _numbered(table, "control", where).items()}
    programs = _numbered(table, "program", where)
    for value in programs.values():
        if not isinstance(value, str | int):
            raise UserError(f"{where}: program {value!r} must be an instrument's name or its place")
    notes = _numbered(table, "note", where)
    for value in notes.values():
        if not isinstance(value, str):
            raise UserError(f"{where}: note {value!r} must be an action or an instrument's name")
    return Mapping(controls, programs, notes, None if channel is None else channel - 1)


def _numbered(table: dict[str, Any], name: str, where: str) -> dict[int, Any]:
    rows = table.get(name, {})
    if not isinstance(rows, dict):
        raise UserError(f"{where}: {name} must be a table")
    for number in rows:
        if not number.isdecimal() or int(number) > 127:
            raise UserError(f"{where}: {name} {number} must be 0 to 127")
    return {int(number): value for number, value in rows.items()}


def _control(value: Any, where: str) -> Control:
    if isinstance(value, str):
        return control_for(value)
    if not isinstance(value, dict) or not isinstance(value.get("parameter"), str):
        raise UserError(f"{where}: control {value!r} must be a name, or have a parameter")
    control = control_for(value["parameter"])
    low, high = value.get("low", control.low), value.get("high", control.high)
    bottom, top = min(control.low, control.high), max(control.low, control.high)
    if not all(isinstance(end, int | float) and bottom <= end <= top for end in (low, high)):
        raise UserError(f"{where}: {control.target} goes from {bottom:g} to {top:g}, found {low!r} to {high!r}")
    return Control(control.target, float(low), float(high))


def save(mapping: Mapping, path: Path) -> None:
    """Write a mapping as `load` reads it. OSError if it can't be written."""
    lines = [] if mapping.channel is None else [f"channel = {mapping.channel + 1}", ""]
    lines.append("[control]")
    for number, control in sorted(mapping.controls.items()):
        if control == control_for(control.target):
            lines.append(f'{number} = "{control.target}"')
        else:
            lines.append(f'{number} = {{ parameter = "{control.target}", low = {control.low}, high = {control.high} }}')
    if mapping.programs:
        lines += ["", "[program]"]
        lines += [
            f"{number} = {value if isinstance(value, int) else _quoted(value)}"
            for number, value in sorted(mapping.programs.items())
        ]
    if mapping.notes:
        lines += ["", "[note]", *(f"{number} = {_quoted(value)}" for number, value in sorted(mapping.notes.items()))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
