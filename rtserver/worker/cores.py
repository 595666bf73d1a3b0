"""Which cores the audio worker's threads run on: decoders on some, the encoder on another, everything else beside it.

A decoder reads its weights from the nearest caches sixteen thousand times a second: a thread that moves, or one that
shares its core with the encoder, pays for it. Cores here are physical ones; of siblings (SMT) one is used and the
others are kept free of us, because they share the caches and the arithmetic.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class CorePlan:
    """Numbers of processors as the system counts them. Without a plan `encoder` is None and both tuples are empty.

    others: where intake and sockets run: every allowed processor that neither is nor shares a decoder's core.
    render_threads: how many of them generate for sessions, one a decoder core; as many without a plan.
    shared: there is but one core: the encoder takes its time from the decoder's.
    why_not: why nothing is pinned, in words; "" when it is.
    """

    encoder: int | None = None
    decoders: tuple[int, ...] = ()
    others: tuple[int, ...] = ()
    render_threads: int = 1
    shared: bool = False
    why_not: str = ""

    @property
    def pinned(self) -> bool:
        return self.encoder is not None

    def to_dict(self) -> dict[str, Any]:
        """Fields of the status."""
        return {
            "pinned": self.pinned,
            "encoder_core": self.encoder,
            "decoder_cores": list(self.decoders),
            "other_cores": list(self.others),
            "render_threads": self.render_threads,
            "shared_core": self.shared,
            "why_not_pinned": self.why_not,
        }


def plan(why_not: str = "", allowed: Collection[int] | None = None, cpus: Path = CPUS) -> CorePlan:
    """Divide the processors that this process may use (or `allowed`). The fastest cores go to the decoders.

    why_not: a reason to pin nothing.

    Half of the cores at most are the decoders', so that the host's own audio has room.
    """
    if not hasattr(os, "sched_setaffinity"):
        threads = _share(os.cpu_count() or 1)
        why_not = why_not or "this system leaves the choice of cores to itself"
        return CorePlan(render_threads=threads, shared=(os.cpu_count() or 1) < 2, why_not=why_not)
    allowed = set(os.sched_getaffinity(0) if allowed is None else allowed)
    cores = _physical(allowed, cpus)
    count = _share(len(cores))
    if why_not or len(cores) < 2:
        return CorePlan(render_threads=count, shared=len(cores) < 2, why_not=why_not or "there is one core")
    # Of equally fast ones the higher numbers first: interrupts and whatever else the system does gather at the lower.
    cores.sort(key=lambda core: (_speed(core[0], cpus), core[0]), reverse=True)
    taken = {number for core in cores[:count] for number in core}
    return CorePlan(
        encoder=cores[count][0],
        decoders=tuple(core[0] for core in cores[:count]),
        others=tuple(sorted(allowed - taken)),
        render_threads=count,
    )


def _share(cores: int) -> int:
    return max(1, cores // 2)


def _physical(allowed: set[int], cpus: Path) -> list[list[int]]:
    """The allowed processors by core, each core's in ascending order; a processor without a record is a core."""
    cores: dict[int, list[int]] = {}
    for number in sorted(allowed):
        siblings = _numbers(_read(cpus / f"cpu{number}/topology/thread_siblings_list")) or {number}
        cores.setdefault(min(siblings), []).append(number)
    return list(cores.values())


def _speed(number: int, cpus: Path) -> int:
    """A figure that is greater for a faster kind of core; 0 where all are alike or nobody says."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        text = _read(cpus / f"cpu{number}" / name)
        if text.isdecimal():
            return int(text)
    return 0


def _numbers(text: str) -> set[int]:
    """The kernel's lists: "0,4-6"."""
    numbers: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        return set()
    return numbers


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
