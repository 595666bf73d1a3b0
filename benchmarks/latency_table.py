"""Measures the latency table of the README: `python -m benchmarks.latency_table [--write]`.

Every figure comes from `bench stream` on a server of its own. With --write the table replaces the one in README.md,
between its two markers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import marked
from rtserver import model_file
from rtserver.bench import machine
from rtserver.bench.stream import StreamOptions, run_stream

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- latency table: python -m benchmarks.latency_table --write -->", "<!-- end of latency table -->"

# (sample rate, block) of the probes; instruments are measured at 48 kHz and 128 frames, and for longer.
HOSTS: list[tuple[int, int | str]] = [
    *((44100, block) for block in (64, 128, 441, 1024, "varying")),
    *((48000, block) for block in (64, 128, 441, 1024, "varying")),
    *((96000, block) for block in (64, 128, 441, 1024, "varying")),
]


Report = dict[str, Any]


def measure(model: str, rate_hz: int, block: int | str, seconds: float, beside: str | None = None) -> Report:
    """One `bench stream`, telling what is going on."""
    print(f"{model} at {rate_hz} Hz, blocks of {block} ...", file=sys.stderr, flush=True)
    options = StreamOptions(model, rate_hz, block, seconds, alternate_with=beside)
    return run_stream(options, lambda line: print(f"  {line}", file=sys.stderr, flush=True))


def probe_table(pairs: list[tuple[Report, Report]]) -> list[str]:
    """Markdown rows of (loopback, identity16k) for each host."""
    lines = [
        "| host | loopback: reported, measured | identity16k: reported, measured | round trip p50 / p99 / p99.9 / max"
        " | misses (loopback, identity16k) | steal |",
        "|---|---|---|---|---|---|",
    ]
    for loopback, identity in pairs:
        exact = "bit-exact" if loopback["bit_exact"] else "NOT bit-exact"
        lines.append(
            f"| {loopback['sample_rate_hz'] / 1000:g} kHz, {loopback['block_frames']}"
            f" | {_frames(loopback)}, {exact} | {_frames(identity)} ({identity['latency_ms']:.1f} ms)"
            f" | {_trips(identity)} | {_misses(loopback)}, {_misses(identity)} | {_steal(loopback, identity)} |"
        )
    return lines


def model_table(reports: list[Report]) -> list[str]:
    """Markdown rows of shipped models, each with identity16k played in turn."""
    lines = [
        "| instrument at 48 kHz, 128 | latency | round trip p50 / p99 / p99.9 / max | misses | identity16k in turn"
        " | steal |",
        "|---|---|---|---|---|---|",
    ]
    for report in reports:
        beside = report["alternate"]
        lines.append(
            f"| {report['model']}, {report['seconds']:g} s | {report['latency_frames']['reported']} frames,"
            f" {report['latency_ms']:.1f} ms | {_trips(report)} | {_misses(report)} | {_misses(beside)}"
            f" | {_steal(report, beside)} |"
        )
    return lines


def _frames(report: Report) -> str:
    parts = report["latency_frames"]
    return f"{parts['reported']}, {'none' if parts['measured'] is None else format(parts['measured'], 'g')}"


def _trips(report: Report) -> str:
    trip = report["round_trip_us"]
    return " / ".join(f"{trip[mark] / 1000:.1f}" for mark in ("p50", "p99", "p999", "max")) + " ms"


def _misses(report: Report) -> str:
    causes = ", ".join(f"{cause} {count}" for cause, count in report["misses_by_cause"].items())
    return f"{report['misses']} of {report['blocks']}{f' ({causes})' if causes else ''}"


def _steal(*reports: Report) -> str:
    steals = [report["steal_ms"] for report in reports]
    return "?" if None in steals else f"{sum(steals):.0f} ms"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="put the table into README.md")
    arguments.add_argument("--quick", action="store_true", help="48 kHz and 128 frames only")
    arguments.add_argument("--seconds", type=float, default=8.0, help="of each probe")
    arguments.add_argument("--model-seconds", type=float, default=60.0, help="of each shipped model")
    asked = arguments.parse_args()
    hosts = [(48000, 128)] if asked.quick else HOSTS
    loopback, identity = model_file.PROBES
    probes = [tuple(measure(probe, *host, asked.seconds) for probe in (loopback, identity)) for host in hosts]
    models = [measure(name, 48000, 128, asked.model_seconds, identity) for name in model_file.shipped()]
    where = machine.describe()
    made = "\n".join(
        [
            *probe_table([(first, second) for first, second in probes]),
            *([""] if models else []),
            *(model_table(models) if models else []),
            "",
            f"{where['processor']}, {where['cores']} cores, {where['system']}, commit {where['commit']}; shared memory,"
            f" margin `live`, {asked.seconds:g} s of each probe.",
        ]
    )
    print(made)
    if asked.write:
        marked.replace(README, BEGIN, END, made)


if __name__ == "__main__":
    main()
