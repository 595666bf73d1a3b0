"""Measures the latency table of the README: `python -m benchmarks.latency_table [--write]`.

Every row is one `bench stream` on a server of its own. With --write the table replaces the one in README.md, between
its two markers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rtserver import model_file
from rtserver.bench import machine
from rtserver.bench.stream import StreamOptions, run_stream

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- latency table: python -m benchmarks.latency_table --write -->", "<!-- end of latency table -->"

# (sample rate, block) of the probes; instruments are measured at the middle one, and for longer.
HOSTS: list[tuple[int, int | str]] = [
    *((44100, block) for block in (64, 128, 441, 1024, "varying")),
    *((48000, block) for block in (64, 128, 441, 1024, "varying")),
    *((96000, block) for block in (64, 128, 441, 1024, "varying")),
]


def rows(probe_seconds: float, model_seconds: float, quick: bool) -> list[dict[str, Any]]:
    """Measure everything, telling what is going on."""

    def measure(model: str, rate_hz: int, block: int | str, seconds: float) -> dict[str, Any]:
        print(f"{model} at {rate_hz} Hz, blocks of {block} ...", file=sys.stderr, flush=True)
        return run_stream(
            StreamOptions(model, rate_hz, block, seconds), lambda line: print(f"  {line}", file=sys.stderr)
        )

    hosts = [(48000, 128)] if quick else HOSTS
    measured = [measure(model, *host, probe_seconds) for host in hosts for model in model_file.PROBES]
    return [*measured, *(measure(name, 48000, 128, model_seconds) for name in model_file.shipped())]


def table(reports: list[dict[str, Any]]) -> str:
    """Markdown, with machine and commit."""
    lines = [
        "| host | model | latency reported | measured | round trip p50 / p99 / p99.9 / max | misses | steal |",
        "|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        parts, trip = report["latency_frames"], report["round_trip_us"]
        measured = "-" if parts["measured"] is None else f"{parts['measured']:g}"
        if report["bit_exact"] is not None:
            measured += ", bit-exact" if report["bit_exact"] else ", not bit-exact"
        steal = "?" if report["steal_ms"] is None else f"{report['steal_ms']:.0f} ms"
        causes = ", ".join(f"{cause} {count}" for cause, count in report["misses_by_cause"].items())
        lines.append(
            f"| {report['sample_rate_hz'] / 1000:g} kHz, {report['block_frames']} | {report['model']}"
            f" | {parts['reported']} frames, {report['latency_ms']:.1f} ms | {measured}"
            f" | {' / '.join(f'{trip[mark] / 1000:.2f}' for mark in ('p50', 'p99', 'p999', 'max'))} ms"
            f" | {report['misses']} of {report['blocks']}{f' ({causes})' if causes else ''}"
            f" | {steal} |"
        )
    where = machine.describe()
    seconds = sorted({round(report["seconds"]) for report in reports})
    lines.append(
        f"\n{where['processor']}, {where['cores']} cores, {where['system']}, commit {where['commit']};"
        f" {' and '.join(map(str, seconds))} s a row, shared memory, margin `{reports[0]['margin']}`."
    )
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="put the table into README.md")
    arguments.add_argument("--quick", action="store_true", help="48 kHz and 128 frames only")
    arguments.add_argument("--seconds", type=float, default=8.0, help="of each probe")
    arguments.add_argument("--model-seconds", type=float, default=60.0, help="of each shipped model")
    asked = arguments.parse_args()
    made = table(rows(asked.seconds, asked.model_seconds, asked.quick))
    print(made)
    if asked.write:
        before, _, rest = README.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        README.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")


if __name__ == "__main__":
    main()
