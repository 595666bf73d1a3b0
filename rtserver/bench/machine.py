"""What the machine did to a measurement: time stolen by its host, and moments when it ran nothing of ours.

Latency figures from a shared machine mean nothing without these beside them.
"""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from pathlib import Path
from time import monotonic_ns
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE_PERIOD_S = 0.02  # /proc/stat counts in ticks of 10 ms: a finer grid would tell no more


def steal_ticks() -> int | None:
    """Ticks, summed over cores, in which the machine's host ran somebody else; None where nobody counts."""
    try:
        with open("/proc/stat", encoding="ascii") as stat:
            fields = stat.readline().split()
    except OSError:
        return None
    return int(fields[8]) if len(fields) > 8 and fields[0] == "cpu" else None


class StealMeter:
    """Context manager that samples steal time from a thread of its own.

    steal_ms: total over the run, summed over cores; None where the system has no such count.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steal-meter", daemon=True)
        self._samples: list[tuple[int, int]] = []
        self._tick_ms = 1000.0 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)

    def __enter__(self) -> StealMeter:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    @property
    def steal_ms(self) -> float | None:
        if len(self._samples) < 2:
            return None
        return round((self._samples[-1][1] - self._samples[0][1]) * self._tick_ms, 1)

    def stolen_ms(self, start_ns: int, stop_ns: int) -> float:
        """Steal in a stretch of CLOCK_MONOTONIC, widened to the samples around it."""
        if len(self._samples) < 2:
            return 0.0
        times = np.array([time for time, _ in self._samples])
        first = max(int(np.searchsorted(times, start_ns, "right")) - 1, 0)
        last = min(int(np.searchsorted(times, stop_ns, "left")), len(times) - 1)
        return (self._samples[last][1] - self._samples[first][1]) * self._tick_ms

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_PERIOD_S):
            self._sample()

    def _sample(self) -> None:
        ticks = steal_ticks()
        if ticks is not None:
            self._samples.append((monotonic_ns(), ticks))


def overlap_ms(stalls_ns: npt.NDArray[np.int64], start_ns: int, stop_ns: int) -> float:
    """How much of [start, stop] the stalls [S, 2] (start and end of each, ns) cover, each core's counted."""
    if not len(stalls_ns):
        return 0.0
    covered = np.minimum(stalls_ns[:, 1], stop_ns) - np.maximum(stalls_ns[:, 0], start_ns)
    return float(np.maximum(covered, 0).sum()) / 1e6


def describe() -> dict[str, Any]:
    """The machine and the commit that a measurement was made with."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "commit": commit(),
    }


def processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """Short commit of the checkout, with + when it was changed; "" for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        name = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return name.stdout.strip()
