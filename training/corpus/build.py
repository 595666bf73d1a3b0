"""Render a training corpus: `python -m training.corpus --config training/configs/classical.toml`.

Reels are rendered in parallel, each in its timbres, into training/corpora/NAME (storage.py says what lies there). What
is there and was made with the same settings is kept, so an interrupted run goes on where it stopped, and a changed
configuration renders only what changed. The same configuration gives the same samples.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.command import read_or_end
from training.corpus import recordings, report, storage
from training.corpus.performance import Reel
from training.corpus.plan import UNSEEN, Item, PlannedReel, plan
from training.corpus.settings import CorpusSettings
from training.corpus.synthesis import render

# Seconds of audio that a second of processor time renders, measured over six hours of classical.toml on a Zen 4 core.
TIMES_REALTIME = 85.0


def make_item(folder: Path, reel: Reel, item: Item) -> float:
    """Render or read one item into the folder; gives its seconds."""
    if item.source is not None:
        audio = recordings.read(item.source)
    else:
        s = item.settings
        audio = render(s["instrument"], reel.notes, reel.seconds, s["seed"], item.soundfont, s["varied"])
    record = storage.save_item(folder, reel.name, item.timbre, audio, item.settings)
    return float(record["seconds"])


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()


def build(settings: CorpusSettings, workers: int = 2, folder: Path | None = None, plan_only: bool = False) -> Path:
    """Render every reel in its timbres; gives the corpus folder. plan_only: its index and labels, but no sound.

    Raises RuntimeError if fluidsynth or all soundfonts are missing, ValueError for recordings that are refused.
    """
    folder = folder or settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        planned = plan(settings, pool)
        for p in planned:
            if p.reel.notes:
                storage.save_array(
                    storage.roll_path(folder, p.reel.name), storage.piano_roll(p.reel.notes, p.reel.seconds)
                )
        storage.write_index(folder, [p.entry for p in planned])
        pending = [
            (p, item)
            for p in planned
            for item in p.items
            if not storage.finished(folder, p.reel.name, item.timbre, item.settings)
        ]
        if not plan_only:
            _run(folder, planned, pending, pool, workers)
    storage.write_manifest(folder)
    return folder


def _run(
    folder: Path,
    planned: list[PlannedReel],
    pending: list[tuple[PlannedReel, Item]],
    pool: ProcessPoolExecutor,
    workers: int,
) -> None:
    seconds = sum(_seconds(p) for p, _ in pending)
    items = sum(len(p.items) for p in planned)
    minutes = seconds / TIMES_REALTIME / workers / 60
    if fonts := sorted({item.soundfont.name for p in planned for item in p.items if item.soundfont}):
        there = any(p.reel.split == UNSEEN for p in planned)
        print(f"soundfonts: {', '.join(fonts)}" + ("" if there else "; none kept for testing, so no split `unseen`"))
    print(
        f"{folder}: {items} items, {items - len(pending)} of them there already; {seconds / 3600:.1f} h to render,"
        f" about {minutes:.0f} min with {workers} workers",
        flush=True,
    )
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(folder.name, total=seconds)
        jobs: dict[Future[float], tuple[PlannedReel, Item]] = {
            pool.submit(make_item, folder, p.reel, item): (p, item) for p, item in pending
        }
        try:
            for job in as_completed(jobs):
                job.result()
                p, item = jobs[job]
                progress.update(task, advance=_seconds(p), description=f"{p.reel.name} {item.timbre}")
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
    if pending:
        passed = time.monotonic() - started
        print(f"{seconds / 3600:.1f} h rendered in {passed / 60:.1f} min, {seconds / passed:.0f} times real time")


def _seconds(p: PlannedReel) -> float:
    return p.reel.seconds if p.reel.notes else 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="TOML with a table [corpus]")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2, help="processes that render at once")
    parser.add_argument("-o", "--output", type=Path, help="folder of the corpus; training/corpora/NAME otherwise")
    parser.add_argument("--plan", action="store_true", help="choose the music and tell what would be rendered")
    parser.add_argument("--picture", type=Path, help="where to draw what was built (PNG)")
    arguments = parser.parse_args()
    # Ended politely, it ends its workers too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    settings = read_or_end(CorpusSettings.read, arguments.config)
    folder = build(settings, arguments.workers, arguments.output, arguments.plan)
    print(report.table(folder, arguments.plan))
    if arguments.picture:
        report.picture(folder, arguments.picture, arguments.plan)
    print(folder)


if __name__ == "__main__":
    main()
