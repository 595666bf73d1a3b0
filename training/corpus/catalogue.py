"""Which scores may be used, and on which side of the split each one is.

A catalogue is a CSV file beside a zip of MIDI files (`training/data/scores.csv`), or a folder of MIDI files of one's
own. The column `work` names the work that a file belongs to: movements, and editions of the same music, share it.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
FREE_LICENCES = ("CC0", "Public", "CC-BY-")  # share-alike scores are left out: weights are shipped under MIT
SPLITS = ("train", "valid", "test")
MIDI_SUFFIXES = (".mid", ".midi")


@dataclass(frozen=True)
class Work:
    """One score file and what the catalogue says of it. `folder` holds it; empty for `training/data/scores.zip`."""

    path: str
    domain: str
    split: str
    licence: str
    credit: str
    work: str = ""
    folder: str = ""


def is_free(licence: str) -> bool:
    return licence.startswith(FREE_LICENCES) and "SA" not in licence.split("-")


def read_catalogue(domains: Iterable[str], split: str, scores: Path | None = None) -> list[Work]:
    """The freely licensed scores of some domains in one split (train, valid, test), in catalogue order.

    scores: a folder of MIDI files instead of the shipped collection, for which all domains are the same. Files in one
    subfolder are one work; works are put into splits by a hash of their name, a tenth each to valid and test.
    Raises FileNotFoundError for a folder without MIDI files.
    """
    if scores is not None:
        return [work for work in _read_folder(scores) if work.split == split]
    wanted = set(domains)
    works = []
    with open(DATA / "scores.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["domain"] in wanted and row["split"] == split and is_free(row["licence"]):
                works.append(Work(row["path"], row["domain"], row["split"], row["licence"], row["credit"], row["work"]))
    return works


def _read_folder(scores: Path) -> list[Work]:
    paths = sorted(p for p in scores.rglob("*") if p.suffix.lower() in MIDI_SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no MIDI files (.mid) in {scores}")
    works = []
    for path in paths:
        relative = path.relative_to(scores)
        work = str(relative.parent if relative.parent != Path() else relative.with_suffix(""))
        works.append(Work(str(relative), "own", hashed_split(work), "own", scores.name, work, str(scores)))
    return works


def hashed_split(name: str) -> str:
    """train, or in a tenth of the cases each valid and test; the same for the same name, whatever else there is."""
    number = zlib.crc32(name.encode()) % 10
    return {0: "valid", 1: "test"}.get(number, "train")


def read_score(work: Work) -> bytes:
    """The bytes of a work's MIDI file."""
    if work.folder:
        return Path(work.folder, work.path).read_bytes()
    with zipfile.ZipFile(DATA / "scores.zip") as archive:
        return archive.read(work.path)


def check_splits(works: Iterable[Work]) -> None:
    """Raise ValueError naming a work that is on both sides of a split."""
    sides: dict[str, str] = {}
    for work in works:
        name = work.work or work.path
        if sides.setdefault(name, work.split) != work.split:
            raise ValueError(f"{name} is in {sides[name]} and in {work.split} ({work.path})")
