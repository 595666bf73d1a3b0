"""`make bench`: decoder, encoder, the path of audio, every kernel and a start, shown and kept in out/bench.json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import performance
from rtserver import model_file

OUT = Path("out/bench.json")


def runs() -> dict[str, list[str]]:
    """Name of each measurement, and the arguments of `rtserver bench` that make it."""
    made = {
        "decoder, live preset": ["decoder", "--preset", "live"],
        "encoder, live preset": ["encoder", "--preset", "live"],
        "encoder, paper preset": ["encoder", "--preset", "paper"],
        "stream, loopback": ["stream", "--model", "loopback", "--seconds", "10"],
        "stream, identity16k": ["stream", "--model", "identity16k", "--seconds", "10"],
    }
    for name in model_file.shipped():
        made |= {
            f"decoder, {name}": ["decoder", "--model", name],
            f"encoder, {name}": ["encoder", "--model", name],
            f"stream, {name}": ["stream", "--model", name, "--seconds", "30", "--alternate-with", "identity16k"],
        }
    return made


def main() -> int:
    reports: dict[str, Any] = {}
    status = 0
    for name, arguments in runs().items():
        print(f"{name}: rtserver bench {' '.join(arguments)}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "rtserver", "bench", *arguments, "--json"], stdout=subprocess.PIPE, check=False
        )
        if done.returncode:
            status = 1
            continue
        reports[name] = json.loads(done.stdout)
        print(_line(reports[name]), flush=True)
    status |= _kernels(reports) | _startup(reports)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(reports, indent=2) + "\n")
    print(f"every figure: {OUT}")
    return status


def _kernels(reports: dict[str, Any]) -> int:
    """The decoder's kernels, slots, layers and channels; the exit status."""
    print("kernels: python -m benchmarks.performance", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.performance", "--json", "--seconds", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.stdout:
        reports["kernels"] = json.loads(done.stdout)
        print(performance.markdown(reports["kernels"]["tables"]), flush=True)
    return done.returncode


def _startup(reports: dict[str, Any]) -> int:
    """The start of a server, in a process of its own; the exit status."""
    print("startup: python -m benchmarks.startup", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.startup", "--json", "--runs", "3"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.stdout:
        for report in json.loads(done.stdout)["startup"]:
            reports[f"startup, {report['pack']}"] = report
            seconds, megabytes = report["first_sound_s"], sum(report["resident_mb"].values())
            print(f"  {report['pack']}: first sound after {seconds} s, {megabytes:.0f} MB resident", flush=True)
    return done.returncode


def _line(report: dict[str, Any]) -> str:
    if "round_trip_us" in report:
        parts, trip = report["latency_frames"], report["round_trip_us"]
        return (
            f"  {report['latency_ms']} ms of latency ({parts['reported']} frames, measured {parts['measured']}),"
            f" round trip p50 {trip['p50']} p99 {trip['p99']} p99.9 {trip['p999']} max {trip['max']} us,"
            f" {report['misses']} misses in {report['blocks']} blocks {report['misses_by_cause']},"
            f" steal {report['steal_ms']} ms"
        )
    beside = f", {report['speedup_over_torch']} x PyTorch" if "speedup_over_torch" in report else ""
    if report.get("roofline_ratio") is not None:
        beside += f", {report['roofline_ratio']} of the speed at which its weights can be read"
    return f"  {report['times_realtime']} x real time{beside}"


if __name__ == "__main__":
    sys.exit(main())
