"""The packs that may be loaded into a running server: those in the folders where names are looked up, by name only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtserver import model_file
from rtserver.errors import UserError

MOST_FILES = 500


def files() -> list[dict[str, Any]]:
    """Packs in the working folder, the user's and the shipped ones: name, folder, size in MB. Reads no contents."""
    found: list[dict[str, Any]] = []
    seen: set[Path] = set()
    for folder in model_file.search_folders():
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix == ".pt" and path.is_file())
        except OSError:  # not there, or not ours to read
            continue
        for path in paths:
            if path.resolve() in seen or len(found) >= MOST_FILES:
                continue
            seen.add(path.resolve())
            found.append({"file": path.name, "folder": str(folder), "mb": round(path.stat().st_size / 2**20, 1)})
    return found


def path_of(folder: object, file: object) -> Path:
    """The path of a file that `files` names. UserError for anything else: a request can't name a path of its own."""
    for known in files():
        if known["folder"] == folder and known["file"] == file:
            return Path(known["folder"], known["file"])
    raise UserError("no such pack in the folders that may be loaded from; look at the list again")
