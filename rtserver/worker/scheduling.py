"""Real-time scheduling (SCHED_FIFO) for the threads of this process, by whichever way the system leaves open.

In this order: the process may take it (CAP_SYS_NICE, or a limit RLIMIT_RTPRIO that pam_limits set at login), or the
service rtkit gives it. Where neither does, threads get a better nice level if that is allowed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

from rtserver.worker.rtkit import RtKit, RtKitError

Way = Literal["capability", "limit", "rtkit", "system", ""]

WAYS: dict[Way, str] = {
    "capability": "by capability (CAP_SYS_NICE)",
    "limit": "by the limit rtprio",
    "rtkit": "through rtkit",
    "system": "asked of the system",
    "": "no",
}
HIGHEST = 99
RAISED_NICE = -11  # without real-time priority
CAP_SYS_NICE, CAP_IPC_LOCK = 23, 14
LOOK_SECONDS = 0.1
TRIES = 3  # a thread that rtkit refuses may only have come when too many did


class Scheduler:
    """way: how real-time priority is had, "" when it isn't. highest: up to which priority. why_not: the reason."""

    def __init__(self, wanted: bool = True) -> None:
        self.way: Way = ""
        self.highest = 0
        self.why_not = ""
        self.refused = 0  # threads that rtkit turned down
        self._rtkit: RtKit | None = None
        self._wanted: list[dict[str, Any]] = []
        self._tried: dict[int, int] = {}
        if not wanted:
            self.why_not = "switched off"
        elif sys.platform == "linux":
            self._find_way()
        else:
            self.way, self.highest = "system", HIGHEST  # native threads ask for themselves

    @property
    def granted(self) -> bool:
        return self.way != ""

    @property
    def takes_itself(self) -> bool:
        """Whether the process may raise its threads by itself, and native ones do as they start."""
        return self.way not in ("rtkit", "")

    def to_dict(self) -> dict[str, Any]:
        """Fields of the status."""
        return {
            "realtime": self.way or None,
            "highest_priority": self.highest,
            "why_not_realtime": self.why_not,
        }

    def give(self, thread_id: int, priority: int, cores: Collection[int] = ()) -> bool:
        """A priority of the audio path (1 to 99, scaled to what is allowed) for a thread; True if it has it.

        Then it is tied to `cores`, if there are any. An ordinary thread is not: on its core it would wait behind
        whatever has more right to it, while other cores are free.
        rtkit may take its time to answer: on a thread that others wait for, ask with `want`.
        """
        from rtserver import _engine

        if sys.platform != "linux":
            return False
        if self.granted:
            priority = _engine.priority_within(priority, self.highest)
            with contextlib.suppress(OSError, RtKitError):
                if self._rtkit is not None:
                    self._rtkit.make_realtime(thread_id, priority)
                else:
                    os.sched_setscheduler(thread_id, os.SCHED_FIFO, os.sched_param(priority))
                if cores:
                    os.sched_setaffinity(thread_id, cores)
                return True
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread_id, RAISED_NICE)
        return False

    def want(self, priority: int, cores: Collection[int] = ()) -> None:
        """A priority (and cores) for the calling thread, at once or as soon as rtkit has given it."""
        number = threading.get_native_id()
        if self._rtkit is None:
            self.give(number, priority, cores)
        else:
            self._wanted.append({"id": number, "priority": priority, "cores": cores})

    def look_after(self, threads: Callable[[], list[dict[str, Any]]]) -> None:
        """From now on see to the native threads (_engine.audio_threads) that can't raise themselves."""
        if sys.platform == "linux" and not self.takes_itself:
            threading.Thread(target=self._look_after, args=(threads,), name="scheduling", daemon=True).start()

    def _look_after(self, threads: Callable[[], list[dict[str, Any]]]) -> None:
        while True:
            self.settle([*self._wanted, *threads()])
            time.sleep(LOOK_SECONDS)

    def settle(self, threads: list[dict[str, Any]]) -> None:
        """Raise those of these threads that have not been yet."""
        self._tried = {thread["id"]: self._tried.get(thread["id"], 0) for thread in threads if thread["priority"]}
        for thread in sorted(threads, key=lambda thread: -int(thread["priority"])):
            number = thread["id"]
            if not thread["priority"] or self._tried[number] >= TRIES:
                continue
            self._tried[number] += 1
            if self.give(number, thread["priority"], thread["cores"]) or not self.granted:
                self._tried[number] = TRIES
            elif self._tried[number] == TRIES:
                self.refused += 1

    @contextlib.contextmanager
    def at_ease(self) -> Iterator[None]:
        """Long work on a thread that has real-time priority: meanwhile it is an ordinary one."""
        if sys.platform != "linux" or os.sched_getscheduler(0) == os.SCHED_OTHER:
            yield
            return
        policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, policy, parameter)

    def _find_way(self) -> None:
        if has_capability(CAP_SYS_NICE):
            self.way, self.highest = "capability", HIGHEST
        else:
            self.way, self.highest = "limit", _priority_limit()
        if self.highest > 0 and _may_take(1):
            return
        taken = "the limit rtprio is 0" if not self.highest else "the system refuses it in spite of permission"
        self.way, self.highest = "", 0
        try:
            self._rtkit = RtKit()
            self._try_rtkit()
            self.way, self.highest = "rtkit", self._rtkit.highest
        except RtKitError as error:
            self._rtkit = None
            self.why_not = f"{taken}, and {error}"

    def _try_rtkit(self) -> None:
        """RtKitError unless a thread, one that does nothing and ends, is given priority."""
        refusals: list[RtKitError] = []

        def ask() -> None:
            assert self._rtkit is not None
            try:
                self._rtkit.make_realtime(threading.get_native_id(), 1)
            except RtKitError as error:
                refusals.append(error)

        probe = threading.Thread(target=ask)
        probe.start()
        probe.join()
        if refusals:
            raise refusals[0]


def has_capability(number: int) -> bool:
    """Whether this process has a capability in effect; False where there are none."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("CapEff:"):
                    return bool(int(line.split()[1], 16) >> number & 1)
    except (OSError, ValueError):
        pass
    return False


def _priority_limit() -> int:
    """RLIMIT_RTPRIO, the soft limit raised to the hard one."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_RTPRIO)
    if hard == 0:
        return 0
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_RTPRIO, (hard, hard))
    return HIGHEST if hard == resource.RLIM_INFINITY else min(hard, HIGHEST)


def _may_take(priority: int) -> bool:
    """Try it on the calling thread; afterwards it is as before."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        os.sched_setscheduler(0, policy, parameter)
    except OSError:
        return False
    return True
