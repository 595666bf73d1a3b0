"""A corpus on disk: reels of audio and labels as arrays that can be memory-mapped, and records of what they are.

    index.json          the reels, in order: name, split, home, seconds, works, timbres
    REEL.notes.npy      uint8 [H, 16], a piano roll: bit p % 8 of byte p // 8 tells that pitch p sounds
    REEL.TIMBRE.npy     int16 [N]
    REEL.TIMBRE.json    its settings, their hash, seconds, SHA-256 of the samples
    manifest.csv        one row an item, made of the records; sources.csv: one row a score or recording

Shapes: N samples at 16 kHz, H hops of 10 ms.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.acoustics import RATE_HZ
from training.corpus.midi import Note

LABEL_HOP_SAMPLES = 160
INDEX = "index.json"
MANIFEST_COLUMNS = ("reel", "timbre", "split", "home", "seconds", "instrument", "soundfont", "sha256", "settings")


def piano_roll(notes: Iterable[Note], seconds: float) -> np.ndarray:
    """uint8 [hops, 16]: the pitches that sound in each 10 ms hop, a bit each."""
    hops = int(seconds * RATE_HZ) // LABEL_HOP_SAMPLES
    roll = np.zeros((hops, 16), dtype=np.uint8)
    for note in notes:
        first, last = (round(s * RATE_HZ / LABEL_HOP_SAMPLES) for s in (note.onset_s, note.end_s))
        roll[first:last, note.pitch >> 3] |= np.uint8(1 << (note.pitch & 7))
    return roll


def unpack_roll(roll: np.ndarray) -> np.ndarray:
    """uint8 [..., H, 16] -> bool [..., H, 128]."""
    return np.unpackbits(roll, axis=-1, bitorder="little").astype(bool)


def top_notes(roll: np.ndarray) -> np.ndarray:
    """int64 [..., H]: the highest pitch that sounds in each hop of a packed roll, 0 in rests."""
    sounding = unpack_roll(roll)
    highest = 127 - np.argmax(sounding[..., ::-1], axis=-1)
    return np.where(sounding.any(axis=-1), highest, 0).astype(np.int64)


def note_labels(notes: Iterable[Note], seconds: float) -> np.ndarray:
    """int64 [hops]: the highest MIDI pitch that sounds in each 10 ms hop, 0 where there is none."""
    return top_notes(piano_roll(notes, seconds))


def settings_hash(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def save_array(path: Path, array: np.ndarray) -> None:
    """Write beside the final place and rename, so that no file is ever half written."""
    partial = path.with_name(path.name + ".part")
    with open(partial, "wb") as file:
        np.save(file, array)
    partial.rename(path)


def save_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)


def save_item(folder: Path, reel: str, timbre: str, audio: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    """Store float audio [N] in [-1, 1] with its record; gives the record."""
    samples = np.round(audio * 32767).astype(np.int16)
    save_array(audio_path(folder, reel, timbre), samples)
    record = {
        "reel": reel,
        "timbre": timbre,
        "seconds": round(len(samples) / RATE_HZ, 3),
        "sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
        "hash": settings_hash(settings),
        "settings": settings,
    }
    save_text(record_path(folder, reel, timbre), json.dumps(record))
    return record


def finished(folder: Path, reel: str, timbre: str, settings: dict[str, Any]) -> bool:
    """Whether an item is there and was made with these very settings."""
    if not audio_path(folder, reel, timbre).exists():
        return False
    try:
        record = json.loads(record_path(folder, reel, timbre).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(record.get("hash") == settings_hash(settings))


def audio_path(folder: Path, reel: str, timbre: str) -> Path:
    return folder / f"{reel}.{timbre}.npy"


def record_path(folder: Path, reel: str, timbre: str) -> Path:
    return folder / f"{reel}.{timbre}.json"


def roll_path(folder: Path, reel: str) -> Path:
    return folder / f"{reel}.notes.npy"


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The reels of a corpus. Raises FileNotFoundError, saying how to render it, if it isn't there."""
    path = folder / INDEX
    if not path.exists():
        raise FileNotFoundError(f"no corpus in {folder}: run `python -m training.corpus --config ...` first")
    reels: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return reels


def write_index(folder: Path, reels: list[dict[str, Any]]) -> None:
    save_text(folder / INDEX, json.dumps(reels, indent=1))


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of all items of the index that are there, in its order."""
    records = []
    for reel in read_index(folder):
        for timbre in reel["timbres"]:
            path = record_path(folder, reel["name"], timbre)
            if path.exists() and audio_path(folder, reel["name"], timbre).exists():
                record = json.loads(path.read_text(encoding="utf-8"))
                records.append({**record, "split": reel["split"], "home": reel["home"]})
    return records


def write_manifest(folder: Path) -> None:
    """manifest.csv of the items and sources.csv of the scores and recordings in them."""
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(MANIFEST_COLUMNS)
        for r in read_records(folder):
            settings = r["settings"]
            table.writerow(
                (
                    *(r[key] for key in ("reel", "timbre", "split", "home", "seconds")),
                    *(settings.get(key, "") for key in ("instrument", "soundfont")),
                    r["sha256"],
                    r["hash"],
                )
            )
    with open(folder / "sources.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("split", "reel", "path", "work", "licence", "credit"))
        for reel in read_index(folder):
            for work in reel["works"]:
                table.writerow((reel["split"], reel["name"], *(work[k] for k in ("path", "work", "licence", "credit"))))
