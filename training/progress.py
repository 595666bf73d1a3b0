"""What a run says of itself: a bar, a log of JSON lines, `loss.png`, and TensorBoard where it is installed.

Nothing here is needed to train: without rich the bar is a line now and then, without matplotlib there is no picture.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from training.loop import Losses

SMOOTHED = 25  # steps of a domain that a curve is averaged over
PLAIN_LINE_SECONDS = 10.0


def read_log(log: Path) -> list[dict[str, Any]]:
    """The rows of a run's log: step, decoder, reconstruction, domain, note, and of newer runs accuracy, chance,
    gradient, seconds (of audio a second)."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def cut_log(log: Path, step: int) -> None:
    """Drop the rows after a step: a run that was killed goes on from its last checkpoint, and logs them again."""
    if log.exists():
        rows = [json.dumps(row) + "\n" for row in read_log(log) if row["step"] <= step]
        log.write_text("".join(rows), encoding="utf-8")


def picture(log: Path, out: Path) -> bool:
    """Draw a run's log: the losses by domain, and how well the classifier does beside chance, each smoothed over 25
    steps of its domain. False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_log(log)
    has_accuracy = any("accuracy" in r for r in rows)
    titles = {"reconstruction": "nats a sample", "domain": "nats", "note": "nats"}
    if has_accuracy:
        titles["accuracy"] = "share that the classifier gets right"
    figure, axes = pyplot.subplots(1, len(titles), figsize=(4.3 * len(titles), 3.6), constrained_layout=True)
    for axis, (key, unit) in zip(axes, titles.items(), strict=True):
        for domain in sorted({r["decoder"] for r in rows}):
            mine = [r for r in rows if r["decoder"] == domain and key in r]
            if not mine:
                continue
            width = min(SMOOTHED, len(mine))
            smooth = np.convolve([r[key] for r in mine], np.ones(width) / width, mode="valid")
            axis.plot([r["step"] for r in mine[width - 1 :]], smooth, lw=1.0, label=domain)
        if key == "accuracy":
            told = [r for r in rows if "chance" in r]
            axis.plot([r["step"] for r in told], [r["chance"] for r in told], "k--", lw=1.0, label="chance")
        axis.set_title(key), axis.set_xlabel("step"), axis.set_ylabel(unit)
        if rows:
            axis.legend(fontsize=8)
    figure.savefig(out, dpi=90)
    pyplot.close(figure)
    return True


class Chance:
    """How often the best constant guess would name the timbre that the encoder heard."""

    def __init__(self, window: int = 500) -> None:
        self.counts: deque[dict[int, int]] = deque(maxlen=window)

    def add(self, timbre: np.ndarray) -> float:
        values, counts = np.unique(timbre, return_counts=True)
        self.counts.append({int(v): int(c) for v, c in zip(values, counts, strict=True)})
        total: dict[int, int] = {}
        for step in self.counts:
            for value, count in step.items():
                total[value] = total.get(value, 0) + count
        return max(total.values()) / sum(total.values())


class Speed:
    """Seconds of audio a second, over the last steps."""

    def __init__(self, window: int = 20) -> None:
        self.times: deque[float] = deque([time.monotonic()], maxlen=window + 1)

    def add(self, audio_seconds: float) -> float:
        self.times.append(time.monotonic())
        return audio_seconds * (len(self.times) - 1) / max(self.times[-1] - self.times[0], 1e-9)


class Log:
    """The JSON lines of a run, appended; and their smoothed losses by domain, for the bar."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115, closed below
        self.smoothed: dict[str, float] = {}

    def add(self, step: int, domain: str, losses: Losses, chance: float, speed: float) -> dict[str, Any]:
        row = {name: round(value, 4) for name, value in vars(losses).items()}
        row |= {"chance": round(chance, 3), "seconds": round(speed, 2)}
        self.file.write(json.dumps({"step": step, "decoder": domain, **row}) + "\n")
        before = self.smoothed.get(domain, losses.reconstruction)
        self.smoothed[domain] = before + (losses.reconstruction - before) / SMOOTHED
        return row

    def told(self, row: dict[str, Any]) -> str:
        by_domain = " ".join(f"{name} {loss:.2f}" for name, loss in sorted(self.smoothed.items()))
        return f"{by_domain} | classifier {row['accuracy']:.0%} (chance {row['chance']:.0%}) | {row['seconds']:.1f} s/s"

    def close(self) -> None:
        self.file.close()


class Bar:
    """Where a run is: `update(step, text)`. A bar of rich's on a terminal, a line every ten seconds otherwise."""

    def __init__(self, title: str, total: int, quiet: bool = False) -> None:
        self.title, self.total, self.last = title, total, 0.0
        self.quiet, self.rich = quiet, None
        if quiet or not sys.stderr.isatty():
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            return
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        self.rich = Progress(
            *columns, TimeRemainingColumn(), TextColumn("{task.fields[told]}"), console=Console(stderr=True)
        )
        self.rich.start()
        self.task = self.rich.add_task(title, total=total, told="")

    def update(self, step: int, told: str) -> None:
        if self.rich is not None:
            self.rich.update(self.task, completed=step, told=told)
        elif not self.quiet and time.monotonic() - self.last >= PLAIN_LINE_SECONDS:
            self.last = time.monotonic()
            print(f"{self.title} {step}/{self.total} {told}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.rich is not None:
            self.rich.stop()


@contextmanager
def bar(title: str, total: int, quiet: bool = False) -> Iterator[Bar]:
    shown = Bar(title, total, quiet)
    try:
        yield shown
    finally:
        shown.close()
