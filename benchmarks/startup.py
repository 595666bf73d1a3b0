"""Measures how a server starts: `python -m benchmarks.startup [--write]`.

For each pack: seconds from launching the server to the first translated frame at a client that already waits, without
prepared weights (each time with an empty cache) and with them; then the memory that the server's processes hold. With
--write the table replaces the one in docs/performance.md, between its two markers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import marked
from rtserver import model_file, precision
from rtserver.bench import first_sound, machine
from rtserver.bench.own_server import OwnServer
from rtserver.bench.stream import StreamOptions
from rtserver.prepared import VARIABLE
from training import untrained
from training.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- startup table: python -m benchmarks.startup --write -->", "<!-- end of startup table -->"
PAPER_SIZE = ROOT / "training" / "configs" / "live_gpu.toml"
PROMISED_S, PROMISED_MB = 3.0, 500.0


def measure(pack: str, runs: int, folder: Path, asked: str) -> dict[str, Any]:
    """Start a server of a pack `runs` times with an empty cache and as often with a full one."""
    options = StreamOptions(pack, precision=asked)
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    parts: list[dict[str, float]] = []
    told: dict[str, Any] = {}
    with machine.StealMeter() as steal:
        for run in range(runs):
            environment = {VARIABLE: str(folder / f"cache{run}")}
            for state in ("cold", "warm"):
                with OwnServer(
                    [pack], arguments=options.server_arguments, wait=False, environment=environment
                ) as server:
                    seconds[state].append(first_sound.listen(options, server))
                    server.wait_ready()
                    if state == "warm":
                        parts.append(server.resident_parts_mb())
                        told = (server.status() or {}).get("worker", {})
                print(f"{Path(pack).name}, {state}: {seconds[state][-1]:.2f} s", file=sys.stderr, flush=True)
    return {
        "pack": Path(pack).stem,
        "isa": told.get("isa"),
        "precision": told.get("precision"),
        "runs": runs,
        "first_sound_s": seconds,
        "resident_mb": {name: statistics.median(part[name] for part in parts) for name in parts[0]},
        "steal_ms": steal.steal_ms,
    }


def table(reports: list[dict[str, Any]]) -> str:
    """Markdown: a row a pack."""
    lines = [
        "| pack | first sound, prepared weights | first sound, empty cache | resident: control, worker, other, all |",
        "|---|---|---|---|",
    ]
    for report in reports:
        cold, warm = (_spread(report["first_sound_s"][state]) for state in ("cold", "warm"))
        resident = report["resident_mb"]
        parts = ", ".join(f"{resident[name]:.0f}" for name in ("control", "worker", "other"))
        lines.append(
            f"| {report['pack']}, {report['precision']} | {warm} | {cold} | {parts}, {sum(resident.values()):.0f} MB |"
        )
    where = machine.describe()
    steals = [report["steal_ms"] for report in reports]
    stolen = "?" if None in steals else f"{sum(steals):.0f} ms"
    lines += [
        "",
        f"Median (least to greatest) of {reports[0]['runs']} starts each; memory as the proportional set size, in which"
        " a page that n processes share counts 1/n. The untrained pack brings no calibration: with an empty cache,"
        f" making one is part of the start. {where['processor']}, {where['cores']} cores, {where['system']},"
        f" {reports[0]['isa']}, commit {where['commit']}, {stolen} stolen by the machine's host.",
    ]
    return "\n".join(lines)


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"


def kept(report: dict[str, Any]) -> bool:
    """Whether a pack's figures are within what is promised of a start with prepared weights."""
    warm_s, resident_mb = statistics.median(report["first_sound_s"]["warm"]), sum(report["resident_mb"].values())
    return bool(warm_s <= PROMISED_S and resident_mb <= PROMISED_MB)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    arguments.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments.add_argument("--runs", type=int, default=5, help="starts of each kind")
    arguments.add_argument("--precision", default="auto", metavar=precision.METAVAR)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        paper_size = folder / "untrained 40 x 128.pt"
        untrained.write(paper_size, Settings.read(PAPER_SIZE))
        packs = [*model_file.shipped(), str(paper_size)]
        reports = []
        for pack in packs:
            with tempfile.TemporaryDirectory(dir=folder) as caches:
                reports.append(measure(pack, asked.runs, Path(caches), asked.precision))
    lines = table(reports)
    print(json.dumps({"startup": reports, "machine": machine.describe()}, indent=2) if asked.json else lines)
    if asked.write:
        try:
            marked.replace(DOCUMENT, BEGIN, END, lines)
        except (OSError, ValueError) as error:
            print(f"the table is not written: {error}", file=sys.stderr)
            return 1
    late = [report["pack"] for report in reports if not kept(report)]
    if late:
        print(f"not within {PROMISED_S:g} s and {PROMISED_MB:g} MB: {', '.join(late)}", file=sys.stderr)
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main())
