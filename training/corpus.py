"""Render a training corpus: `python -m training.corpus --config training/configs/live_cpu.toml`.

Leaves, in training/corpora/NAME: `SPLIT_REEL_INSTRUMENT.npy` (int16 [samples] at 16 kHz), `SPLIT_REEL_notes.npy`
(int16 [hops of 10 ms]: the sounding MIDI pitch, 0 in rests) and `sources.csv` (every work used, with its licence).
Reels that exist are kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rich.progress import track as progress_track

from training.render import RATE_HZ, render
from training.scores import Note, make_reels, read_catalogue
from training.settings import CorpusSettings, Settings

LABEL_HOP_SAMPLES = 160
SPLITS = ("train", "valid", "test")


def note_labels(notes: list[Note], seconds: float) -> np.ndarray:
    """int16 [hops]: the MIDI pitch sounding at the end of each 10 ms hop, 0 where there is none."""
    hops = int(seconds * RATE_HZ) // LABEL_HOP_SAMPLES
    labels = np.zeros(hops, dtype=np.int16)
    for note in notes:
        first, last = (round(s * RATE_HZ / LABEL_HOP_SAMPLES) for s in (note.onset_s, note.end_s))
        labels[first:last] = note.pitch
    return labels


def _render_to(path: Path, instrument: str, notes: list[Note], seconds: float, seed: int) -> None:
    if path.exists():
        return
    audio = render(instrument, notes, seconds, seed)
    partial = path.with_suffix(".part")
    with open(partial, "wb") as file:
        np.save(file, np.round(audio * 32767).astype(np.int16))
    partial.rename(path)


def build(settings: CorpusSettings, workers: int = 2) -> Path:
    """Render every reel of every split in every instrument; gives the corpus folder."""
    folder = settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    sources: list[tuple[str, str, str, str]] = []
    with ProcessPoolExecutor(workers) as pool:
        pending = []
        for number, split in enumerate(SPLITS):
            works = read_catalogue(list(settings.score_domains), split)
            count = settings.reels[split]
            for r, (notes, used) in enumerate(make_reels(works, settings.reel_seconds, count, seed=100 + number)):
                seconds = notes[-1].end_s + 0.5
                np.save(folder / f"{split}_{r:02d}_notes.npy", note_labels(notes, seconds))
                sources += [(split, w.path, w.licence, w.credit) for w in used]
                for name, instrument in settings.instruments.items():
                    path = folder / f"{split}_{r:02d}_{name}.npy"
                    pending.append(pool.submit(_render_to, path, instrument, notes, seconds, seed=r * 31 + number))
        for job in progress_track(pending, description=f"rendering {folder.name}"):
            job.result()
    with open(folder / "sources.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("split", "path", "licence", "credit"), *sources])
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="training configuration (TOML)")
    parser.add_argument("--workers", type=int, default=2, help="processes that render at once")
    arguments = parser.parse_args()
    print(build(Settings.read(arguments.config).corpus, arguments.workers))


if __name__ == "__main__":
    main()
