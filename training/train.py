"""Train a model: `python -m training.train --config training/configs/live_cpu.toml`.

Goes on exactly where the last checkpoint in training/runs/NAME was made; stops cleanly, with a checkpoint, after
--minutes, on Ctrl-C or SIGTERM. `loss.png` there shows how it went, `log.jsonl` every step, and `tensorboard --logdir`
too if that is installed. Several processes: `torchrun --nproc-per-node 2 -m training.train --config ...`.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from training.boards import Board
from training.checkpoint import write_compact
from training.command import configured
from training.distributed import Group
from training.loop import Trainer
from training.progress import Chance, Log, Speed, bar, cut_log, picture, read_log
from training.settings import Settings

__all__ = ["RUNS", "Trainer", "main", "read_log", "run"]

RUNS = Path(__file__).parent / "runs"


class Stop:
    """Whether someone asked for an end: a first Ctrl-C or SIGTERM is noted, a second one ends at once.

    A context: the handlers that were there before come back with its end.
    """

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self.before = {kind: signal.signal(kind, self._note) for kind in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, handler in self.before.items():
            signal.signal(kind, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def run(
    settings: Settings,
    folder: Path,
    minutes: float = math.inf,
    device: str = "cpu",
    quiet: bool = False,
    warm: Path | None = None,
) -> Trainer:
    """Train from the last checkpoint in a folder, or from the start, until the steps or the minutes are over.

    warm: a compact checkpoint to go on from where the folder has none.
    """
    group = Group(device)
    trainer = Trainer(settings, device, group)
    checkpoint, log_path = folder / "checkpoint.pt", folder / "log.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        trainer.load(checkpoint)
    elif warm is not None:
        trainer.load(warm)
    trainer.first_step = trainer.step
    train, steps = settings.train, settings.train.steps
    audio_seconds = train.batch * train.segment_seconds * group.size
    if group.first:
        cut_log(log_path, trainer.step)
    log = Log(log_path if group.first else Path("/dev/null"))
    board = Board(folder / "board", wanted=group.first)
    chance, speed = Chance(), Speed()
    started = saved = time.monotonic()

    def save() -> None:
        if group.first:
            trainer.save(checkpoint)
            picture(log_path, folder / "loss.png")

    with Stop() as stop, bar(settings.name, steps, quiet or not group.first) as shown:
        while trainer.step < steps:
            domain, losses = trainer.train_step()
            batch = trainer.batch
            row = log.add(trainer.step, domain, losses, chance.add(batch.timbre), speed.add(audio_seconds))
            shown.update(trainer.step, log.told(row))
            board.scalars(trainer.step, domain, row)
            if not math.isfinite(losses.reconstruction):
                raise FloatingPointError(f"step {trainer.step}: the loss is {losses.reconstruction}; lower the rate")
            if group.first and trainer.step % train.example_steps == 0:
                board.example(trainer.step, trainer.network, batch)
            now = time.monotonic()
            if trainer.step % train.checkpoint_steps == 0 or now - saved > train.checkpoint_minutes * 60:
                save()
                saved = now
            if group.any(stop.asked or now - started >= minutes * 60):
                break
    save()
    trainer.close()
    log.close()
    board.close()
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="training configuration (TOML)")
    parser.add_argument("--run", type=Path, help="folder of the run; training/runs/NAME otherwise")
    parser.add_argument(
        "--steps", type=int, help="length of the run and of its schedules; the configuration's otherwise"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, with a checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--workers", type=int, help="processes that prepare segments; the configuration's otherwise")
    parser.add_argument("--compact", type=Path, metavar="FOLDER", help="also leave the compact form of the end there")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = configured(arguments.config, steps=arguments.steps, workers=arguments.workers)
    folder = arguments.run or RUNS / settings.name
    try:
        trainer = run(settings, folder, arguments.minutes, arguments.device)
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"{error}")
    if arguments.compact and trainer.group.first:
        write_compact(arguments.compact, trainer.state(), settings.model)
    if trainer.group.first:
        print(f"{folder / 'checkpoint.pt'} at step {trainer.step}; losses in {folder / 'loss.png'}")
    trainer.group.close()


if __name__ == "__main__":
    main()
