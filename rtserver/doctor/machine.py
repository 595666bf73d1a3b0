"""Processor, shared memory, ports."""

from __future__ import annotations

import os
import platform
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from rtserver.bench.machine import processor_name
from rtserver.bench.own_server import port_in_use, status_at
from rtserver.doctor.check import Check

SHARED_MEMORY = Path("/dev/shm")
SEGMENT_PREFIX = "rtserver-"
# A session at 192 kHz, stereo, keeps about a second in each of its two rings.
SEGMENT_MB = 4
HEADER_SERVER_PID = struct.Struct("<24xI")  # rt_header.server_pid


def processor() -> Check:
    """Instruction set that the engine will use, and cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    data = {"processor": processor_name(), "machine": platform.machine(), "cores": cores}
    try:
        from rtserver import _engine
    except ImportError as error:
        return Check(
            "processor",
            "unusable",
            f"the engine can't be loaded: {error}",
            "build it: `make setup`, or reinstall",
            data,
        )
    isas = list(_engine.available_isas())
    data |= {"isas": isas, "isa": isas[-1]}
    found = f"{data['processor']}, {cores} core{'s' * (cores != 1)}, {isas[-1]}"
    if os.environ.get("RTSERVER_ISA"):
        fix = "RTSERVER_ISA is set and forces the instruction set; unset it for the best one"
        return Check("processor", "note", found, fix, data)
    if isas == ["scalar"]:
        return Check("processor", "warning", found, "without AVX2 only narrow models run in real time here", data)
    if cores == 1:
        return Check(
            "processor", "warning", found, "give the machine a second core: the host and the engine share one", data
        )
    return Check("processor", "ok", found, "", data)


def governor() -> Check | None:
    """Whether the cores keep their clock; None where the system doesn't say (virtual machines)."""
    names = {path.read_text().strip() for path in Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")}
    if not names:
        return None
    found = f"frequency governor {', '.join(sorted(names))}"
    if names <= {"performance", "schedutil"}:
        return Check("clock", "ok", found, "", {"governors": sorted(names)})
    fix = "cores slow down between blocks; `sudo cpupower frequency-set -g performance` while playing"
    return Check("clock", "warning", found, fix, {"governors": sorted(names)})


def shared_memory() -> Check | None:
    """Room for sessions; None on systems that don't keep segments in a folder."""
    if not SHARED_MEMORY.is_dir():
        return None
    free_mb = shutil.disk_usage(SHARED_MEMORY).free / 2**20
    data = {"free_mb": round(free_mb, 1)}
    if not os.access(SHARED_MEMORY, os.W_OK):
        return Check(
            "shared memory", "unusable", f"{SHARED_MEMORY} can't be written", f"`sudo chmod 1777 {SHARED_MEMORY}`", data
        )
    if free_mb < SEGMENT_MB:
        fix = f"`sudo mount -o remount,size=256M {SHARED_MEMORY}` (in a container: --shm-size=256m)"
        return Check("shared memory", "unusable", f"{free_mb:.1f} MB free in {SHARED_MEMORY}", fix, data)
    return Check("shared memory", "ok", f"{free_mb:.0f} MB free", "", data)


def stale_segments() -> Check | None:
    """Segments that a killed server left behind."""
    if not SHARED_MEMORY.is_dir():
        return None
    stale = sorted(_stale())
    data = {"segments": stale}
    if not stale:
        return Check("stale segments", "ok", "none", "", data)
    return Check(
        "stale segments",
        "warning",
        f"{len(stale)} left by servers that were killed",
        f"the next server removes them, or `rm {SHARED_MEMORY}/{SEGMENT_PREFIX}*` while none runs",
        data,
    )


def _stale() -> Iterator[str]:
    for path in SHARED_MEMORY.glob(f"{SEGMENT_PREFIX}*"):
        try:
            with path.open("rb") as segment:
                head = segment.read(HEADER_SERVER_PID.size)
        except OSError:
            continue
        named = path.name.removeprefix(SEGMENT_PREFIX).split("-")[0]
        if len(head) < HEADER_SERVER_PID.size:
            pid = 0
        else:
            (pid,) = HEADER_SERVER_PID.unpack(head)
        pid = pid or (int(named) if named.isdecimal() else 0)
        if not pid or not _alive(pid):
            yield path.name


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def port(number: int) -> Check:
    """Whether a server could start on the default port, or already runs there."""
    name = f"port {number}"
    if not port_in_use(number):
        return Check(name, "ok", "free", "", {"port": number, "state": "free"})
    if (status := status_at(number)) is not None:
        found = f"an rtserver answers there ({len(status.get('sessions', []))} sessions)"
        return Check(name, "ok", found, "", {"port": number, "state": "rtserver"})
    return Check(
        name,
        "warning",
        "held by another program",
        f"stop it, or serve on another: `rtserver --port {number + 1}`",
        {"port": number, "state": "in use"},
    )
