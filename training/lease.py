"""A stretch of training on a rented GPU, from one command on a bare machine: `python -m training.lease --config TOML`.

Installs what `training.carried` gathered, renders the corpus, trains from the last compact checkpoint for --minutes,
and leaves in --out what has to travel home: the compact checkpoint in files of at most 16 MB, the log, `loss.png`, and
`figures.json` (audio seconds a second, memory, utilisation, losses). The next call goes on from there.
Needs Python 3.11, torch and numpy; rendering needs mido, soundfile, soxr, scipy, and fluidsynth.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from training import carried

RENDERING = ("mido", "soundfile", "soxr", "scipy", "cffi", "rich")  # cffi: soundfile's
KEPT = "figures.json"
LOSS_WINDOW = 100  # steps of a domain at each end of the stretch


def say(text: str) -> None:
    print(f"lease: {text}", file=sys.stderr, flush=True)


def missing_for_rendering() -> list[str]:
    """What stands between this machine and a rendered corpus."""
    lacking = [name for name in RENDERING if importlib.util.find_spec(name) is None]
    return lacking + ([] if shutil.which("fluidsynth") else ["fluidsynth"])


def render(config: Path, folder: Path, workers: int, minutes: float) -> float:
    """Render the corpus, for so many minutes at most; gives the seconds. Ends the program if there is none then."""
    began = time.monotonic()
    lacking = missing_for_rendering()
    if lacking:
        if folder.exists():
            say(f"{', '.join(lacking)} missing: training on what of the corpus is in {folder}")
            return 0.0
        sys.exit(
            f"lease: no corpus in {folder}, and {', '.join(lacking)} missing to render it: gather them with"
            " `python -m training.carried` where there is a network, and name the folder with --carried"
        )
    command = [sys.executable, "-m", "training.corpus", "--config", str(config), "--workers", str(workers)]
    process = subprocess.Popen(command)
    try:
        if process.wait(timeout=minutes * 60):
            sys.exit(f"lease: rendering ended with {process.returncode}")
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        say(f"rendering stopped after {minutes} minutes; what there is will do")
    return time.monotonic() - began


class Gauge:
    """Samples the GPU's utilisation and memory once a second through nvidia-smi; empty where there is none."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self.process: subprocess.Popen[str] | None = None
        if shutil.which("nvidia-smi"):
            query = [
                "nvidia-smi",
                "--query-gpu=utilization.gpu,memory.used",
                "--format=csv,noheader,nounits",
                "-l",
                "1",
            ]
            self.process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            try:
                used, memory = (float(x) for x in line.split(","))
            except ValueError:
                continue
            self.samples.append((used, memory))

    def stop(self) -> dict[str, float | None]:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
        if not self.samples:
            return {"gpu_utilisation": None, "gpu_memory_mib": None}
        used = sorted(u for u, _ in self.samples)
        share = sum(used) / len(used) / 100.0
        return {"gpu_utilisation": round(share, 3), "gpu_memory_mib": max(m for _, m in self.samples)}


def losses_of(rows: list[dict[str, Any]], first: int) -> dict[str, dict[str, float]]:
    """By decoder: mean loss of the last steps before `first`, of the first ones from there on, and of the last."""
    out: dict[str, dict[str, float]] = {}
    for name in sorted({r["decoder"] for r in rows}):
        before = [r["reconstruction"] for r in rows if r["decoder"] == name and r["step"] <= first]
        after = [r["reconstruction"] for r in rows if r["decoder"] == name and r["step"] > first]
        parts = {"before": before[-LOSS_WINDOW:], "first": after[:LOSS_WINDOW], "last": after[-LOSS_WINDOW:]}
        out[name] = {k: round(sum(v) / len(v), 4) for k, v in parts.items() if v}
    return out


def stretch(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train; gives the figures."""
    import torch

    from training import checkpoint, progress
    from training.command import configured
    from training.train import RUNS, run

    changes = {"workers": arguments.loaders, "steps": arguments.steps}
    settings = configured(arguments.config, **changes)
    if settings.train.start and arguments.start:
        settings = replace(settings, train=replace(settings.train, start=str(arguments.start)))
    folder: Path = arguments.run or RUNS / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    old = arguments.resume
    if old and not (folder / "checkpoint.pt").exists() and (old / "log.jsonl.gz").exists():
        (folder / "log.jsonl").write_bytes(gzip.decompress((old / "log.jsonl.gz").read_bytes()))
    rendering = render(arguments.config, settings.corpus.folder, arguments.workers, arguments.corpus_minutes)
    gauge, began = Gauge(), time.monotonic()
    warm = old if old and (old / checkpoint.INDEX).exists() else None
    trainer = run(settings, folder, arguments.minutes, arguments.device, warm=warm)
    seconds = time.monotonic() - began
    cuda = trainer.device.type == "cuda"
    rows = progress.read_log(folder / "log.jsonl")
    steps = trainer.step - trainer.first_step
    mine = rows[-steps:] if steps else []
    steady = sorted(r["seconds"] for r in mine[len(mine) // 4 :] if "seconds" in r)
    figures = {
        "config": settings.name,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "first_step": trainer.first_step,
        "last_step": trainer.step,
        "resumed": trainer.first_step > 0,
        "seconds": round(seconds, 1),
        "rendering_seconds": round(rendering, 1),
        "audio_seconds": round(steps * settings.train.batch * settings.train.segment_seconds, 1),
        "audio_seconds_a_second": steady[len(steady) // 2] if steady else None,
        "waiting_for_audio": round(trainer.waited_s / max(seconds, 1e-9), 4),
        "peak_memory_mib": round(torch.cuda.max_memory_allocated() / 2**20) if cuda else None,
        **gauge.stop(),
        "losses": losses_of(rows, trainer.first_step),
    }
    pack(arguments.out, folder, trainer.state(), settings.model, figures)
    return figures


def pack(out: Path, folder: Path, state: dict[str, Any], model: Any, figures: dict[str, Any]) -> None:
    """What travels home: the compact checkpoint, the log, the picture, the figures."""
    from training.checkpoint import write_compact

    out.mkdir(parents=True, exist_ok=True)
    write_compact(out, state, model)
    (out / "log.jsonl.gz").write_bytes(gzip.compress((folder / "log.jsonl").read_bytes()))
    if (folder / "loss.png").exists():
        shutil.copy(folder / "loss.png", out)
    (out / KEPT).write_text(json.dumps(figures, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="training configuration (TOML)")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "out")), help="($OUT) what travels home")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="what an earlier stretch left, carried here")
    parser.add_argument("--start", type=Path, help="pack or compact checkpoint instead of the configuration's `start`")
    parser.add_argument("--minutes", type=float, default=8.5, help="of training (default: %(default)s)")
    parser.add_argument("--corpus-minutes", type=float, default=5.0, help="of rendering at most (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="length of the schedules; the configuration's otherwise")
    parser.add_argument("--carried", type=Path, metavar="FOLDER", help="what training.carried gathered")
    parser.add_argument("--site", type=Path, default=Path("/tmp/lease-site"), help="where to install its wheels")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    parser.add_argument("--loaders", type=int, help="processes that prepare segments; the configuration's otherwise")
    parser.add_argument("--run", type=Path, help="folder of the run; training/runs/NAME otherwise")
    parser.add_argument("--device", help="cuda if there is one, else cpu")
    arguments = parser.parse_args()
    for name in ("torch", "numpy"):
        if importlib.util.find_spec(name) is None:
            sys.exit(f"lease: {name} is missing")
    if arguments.carried:
        carried.install(arguments.carried, arguments.site)
    if arguments.device is None:
        import torch

        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        figures = stretch(arguments)
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"lease: {error}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
