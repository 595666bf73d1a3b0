"""Keeps the worker's memory from being swapped out: a page that must be read back from disk is a missed block.

Pages are locked as they are touched (MCL_ONFAULT), not all at once: what nobody uses, such as most of a thread's stack,
stays out of memory, so the process grows by nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

from rtserver.worker.scheduling import CAP_IPC_LOCK, has_capability

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # linux/mman.h; the same on every architecture we build for


@dataclass(frozen=True)
class LockedMemory:
    """What is locked: everything, the engine's weights and the rings (as far as limit_mb reaches), or nothing."""

    locked: Literal["all", "weights and rings"] | None
    limit_mb: float | None = None  # None: no limit
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Fields of the status."""
        return {"locked": self.locked, "limit_mb": self.limit_mb, "why_not_locked": self.why_not}


def limit_bytes() -> int | None:
    """How much this process may lock; None: everything. The soft limit is raised to the hard one."""
    if sys.platform != "linux" or has_capability(CAP_IPC_LOCK):
        return None
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    return None if hard == resource.RLIM_INFINITY else hard


def lock(limit: int | None) -> LockedMemory:
    """Lock what may be locked, now and from now on. `limit` is limit_bytes()'s.

    Under a limit not everything: the kernel would count what is mapped, touched or not, and refuse later allocations.
    """
    from rtserver import _engine

    if sys.platform != "linux":
        return LockedMemory(None, why_not="not on this system")
    if limit is not None:
        _engine.lock_memory(True)
        megabytes = round(limit / 2**20, 1)
        return (
            LockedMemory("weights and rings", megabytes) if limit else LockedMemory(None, 0.0, "the limit memlock is 0")
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0:
        return LockedMemory("all")
    return LockedMemory(None, why_not=os.strerror(ctypes.get_errno()))
