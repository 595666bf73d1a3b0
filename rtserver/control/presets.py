"""Presets: the parameters of a session under a name, kept in the user's data folder, one small JSON file each.

A file may come from anywhere, so it is checked like any other input: known parameters only, in their ranges.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtserver import model_file, osc
from rtserver.control import status
from rtserver.control.sessions import Session
from rtserver.errors import UserError

FORMAT = "rtserver-preset-1"
KEPT = tuple(name for name in osc.PARAMETERS if name not in ("bypass", "panic"))  # what one does, not how it sounds
NAME_LONGEST = 64
FILE_BYTES_MAX = 16384
MOST_PRESETS = 1000


@dataclass(frozen=True)
class Preset:
    """parameters: by name, choices and decoders as names. model: which one it was made with; any may recall it."""

    name: str
    model: str = ""
    parameters: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """What is written and shared."""
        return {"format": FORMAT, "name": self.name, "model": self.model, "parameters": self.parameters}


def checked_name(name: object) -> str:
    """A preset's name without spaces around it. UserError if it has none, or one that can't be shown."""
    text = name.strip() if isinstance(name, str) else ""
    if not text or len(text) > NAME_LONGEST or not text.isprintable():
        raise UserError(f"a preset's name has 1 to {NAME_LONGEST} printable characters")
    return text


def parse(document: object) -> Preset:
    """The preset of a document from anywhere. UserError names what is wrong with it."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(f"not a preset: expected a JSON object with format {FORMAT}")
    unknown = document.keys() - {"format", "name", "model", "parameters"}
    if unknown:
        raise UserError(f"not a preset of this version: unknown {sorted(unknown)[0][:40]!r}")
    model, parameters = document.get("model", ""), document.get("parameters")
    if not isinstance(model, str) or len(model) > 256 or not isinstance(parameters, dict) or not parameters:
        raise UserError("not a preset: model must be a name and parameters an object with at least one of them")
    values: dict[str, float | int | str] = {}
    for name, value in parameters.items():
        if name not in KEPT:
            raise UserError(f"a preset has no parameter {str(name)[:40]!r}; it may have {', '.join(KEPT)}")
        try:
            values[name] = osc.checked(osc.PARAMETERS[name], value)
        except ValueError as error:
            raise UserError(f"preset: {error}") from None
    if isinstance(values.get("decoder"), str) and len(str(values["decoder"])) > 256:
        raise UserError("preset: decoder is too long a name")
    return Preset(checked_name(document.get("name")), model, values)


class PresetStore:
    """The folder of presets. Every call reads or writes files of a few hundred bytes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or model_file.user_data_folder().parent / "presets"

    def names(self) -> list[str]:
        """Names of the presets there are, sorted as people expect."""
        return sorted((preset.name for preset in self._all()), key=lambda name: (name.casefold(), name))

    def get(self, name: object) -> Preset:
        """UserError if there is none of that name."""
        wanted = checked_name(name)
        with contextlib.suppress(UserError, OSError):
            return self._read(self._path(wanted))
        for preset in self._all():  # a file that was put there by hand
            if preset.name == wanted:
                return preset
        raise UserError(f"no preset {wanted!r}")

    def put(self, preset: Preset) -> None:
        """Save, in place of what had that name. UserError if that can't be."""
        path = self._path(preset.name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists() and sum(1 for _ in self.folder.glob("*.json")) >= MOST_PRESETS:
                raise UserError(f"there are {MOST_PRESETS} presets already; delete one first")
            text = json.dumps(preset.document, indent=2)  # in ASCII: whatever a name holds can be written
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".part")
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(f"{text}\n")
                os.replace(temporary, path)
            except OSError:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise UserError(f"{self.folder}: {error.strerror}; the preset is not saved") from None

    def delete(self, name: object) -> None:
        """UserError if there is none of that name."""
        wanted = self.get(name).name
        for path in self._paths():
            with contextlib.suppress(UserError, OSError):
                if self._read(path).name == wanted:
                    path.unlink()

    def _path(self, name: str) -> Path:
        """Readable, safe on every file system, and different for different names."""
        readable = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")[:40]
        return self.folder / f"{readable or 'preset'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"

    def _paths(self) -> list[Path]:
        try:
            return sorted(self.folder.glob("*.json"))[:MOST_PRESETS]
        except OSError:
            return []

    def _all(self) -> list[Preset]:
        found: dict[str, Preset] = {}
        for path in self._paths():
            with contextlib.suppress(UserError, OSError):  # what is no preset is no preset
                preset = self._read(path)
                found.setdefault(preset.name, preset)
        return list(found.values())

    @staticmethod
    def _read(path: Path) -> Preset:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise UserError(f"{path} is too large for a preset")
        try:
            return parse(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: {error}") from None


class SessionPresets(PresetStore):
    """The store, and what becomes of its presets in sessions. set_parameter: the server's."""

    def __init__(self, set_parameter: Callable[[Session, str, float | int | str], None]) -> None:
        super().__init__()
        self._set_parameter = set_parameter

    def save(self, session: Session, name: object) -> None:
        """Keep a session's parameters under a name. UserError if that can't be."""
        kept = {key: value for key, value in status.parameters(session).items() if key in KEPT}
        self.put(Preset(checked_name(name), session.model.name, kept))

    def recall(self, session: Session, name: object) -> list[str]:
        """Set every parameter of a preset; gives those that could not be: a decoder that the session's model lacks."""
        skipped = []
        for parameter, value in self.get(name).parameters.items():
            try:
                self._set_parameter(session, parameter, value)
            except UserError:
                skipped.append(parameter)
        return skipped
