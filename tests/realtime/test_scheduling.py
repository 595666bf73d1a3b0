"""Cores, real-time priority and locked memory are asked for in the right way, had where allowed, and never demanded."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rtserver import _engine
from rtserver.worker import cores, scheduling
from rtserver.worker.scheduling import CAP_IPC_LOCK, CAP_SYS_NICE, has_capability

if TYPE_CHECKING:
    from tests.realtime.mock_rtkit import MockRtkit

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems leave all of this to themselves")

# --- cores ---


def sysfs(folder: Path, siblings: list[str], speeds: dict[int, int] | None = None) -> Path:
    """A machine whose processor n shares its core with siblings[n]."""
    for number, shared in enumerate(siblings):
        topology = folder / f"cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{shared}\n")
        if speeds:
            frequency = folder / f"cpu{number}/cpufreq"
            frequency.mkdir()
            (frequency / "cpuinfo_max_freq").write_text(f"{speeds[number]}\n")
    return folder


def test_two_cores_are_one_each(tmp_path: Path) -> None:
    plan = cores.plan(allowed={0, 1}, cpus=sysfs(tmp_path, ["0", "1"]))
    assert (plan.encoder, plan.decoders, plan.others) == (0, (1,), (0,))


def test_siblings_are_one_core(tmp_path: Path) -> None:
    machine = sysfs(tmp_path, ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"])
    plan = cores.plan(allowed=set(range(8)), cpus=machine)
    assert plan.decoders == (3, 2) and plan.encoder == 1
    assert plan.others == (0, 1, 4, 5), "not beside a decoder on its core either"
    narrow = cores.plan(allowed={1, 5}, cpus=machine)
    assert not narrow.pinned and narrow.why_not == "there is one core"
    free = cores.plan("switched off", allowed=set(range(8)), cpus=machine)
    assert (free.pinned, free.why_not, free.render_threads) == (False, "switched off", 2), "as many, on any core"


def test_only_allowed_processors_are_used(tmp_path: Path) -> None:
    plan = cores.plan(allowed={4, 5, 6}, cpus=sysfs(tmp_path, ["0-1", "0-1", "2-3", "2-3", "4-5", "4-5", "6-7", "6-7"]))
    assert (plan.decoders, plan.encoder, plan.others) == ((6,), 4, (4, 5))


def test_the_fast_cores_of_a_mixed_machine_are_the_decoders(tmp_path: Path) -> None:
    speeds = {0: 5_000_000, 1: 5_000_000, 2: 3_000_000, 3: 3_000_000}
    plan = cores.plan(allowed={0, 1, 2, 3}, cpus=sysfs(tmp_path, ["0", "1", "2", "3"], speeds))
    assert plan.decoders == (1, 0) and plan.encoder == 3


def test_a_machine_that_says_nothing_is_taken_by_its_numbers(tmp_path: Path) -> None:
    assert cores.plan(allowed={2, 5}, cpus=tmp_path).decoders == (5,)


# --- priorities ---

PRIORITIES = (73, 72, 71, 70, 40, 39)


@pytest.mark.parametrize("highest", [99, 73, 50, 20, 6])
def test_the_order_of_priorities_survives_a_low_ceiling(highest: int) -> None:
    scaled = [_engine.priority_within(priority, highest) for priority in PRIORITIES]
    assert scaled == sorted(scaled, reverse=True) and len(set(scaled)) == len(scaled)
    assert min(scaled) >= 1 and max(scaled) <= highest
    assert scaled == list(PRIORITIES) or highest < 73


def unprivileged(*arguments: str, capabilities: str = "-sys_nice", **limits: int) -> list[str]:
    """A command line that runs without these capabilities (when they are there) and with these limits (prlimit)."""
    prefix: list[str] = []
    if has_capability(CAP_SYS_NICE) or has_capability(CAP_IPC_LOCK):
        setpriv = shutil.which("setpriv")
        if setpriv is None or os.geteuid() != 0:
            pytest.skip("can't drop capabilities here: setpriv (util-linux) and root are needed")
        prefix += [setpriv, "--bounding-set", capabilities]
    if limits:
        if (prlimit := shutil.which("prlimit")) is None:
            pytest.skip("prlimit (util-linux) is missing")
        prefix = [prlimit, *(f"--{name}={value}:{value}" for name, value in limits.items()), *prefix]
    return [*prefix, *arguments]


def python(script: str, environment: dict[str, str] | None = None, **how: Any) -> dict[str, Any]:
    """What a script, run without privileges, prints as JSON."""
    command = unprivileged(sys.executable, "-c", script, **how)
    environment = {**(environment or os.environ), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    if done.returncode and "failed to set" in done.stderr:
        pytest.skip(f"can't raise limits here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


ASK = """
import json, os, resource, threading
from rtserver.worker.scheduling import Scheduler
scheduler = Scheduler()
given = scheduler.give(threading.get_native_id(), 70) if scheduler.granted else None
print(json.dumps({**scheduler.to_dict(), "given": given, "policy": os.sched_getscheduler(0) & 7,
    "priority": os.sched_getparam(0).sched_priority, "rttime": resource.getrlimit(resource.RLIMIT_RTTIME),
    "thread": threading.get_native_id()}))
"""


@contextmanager
def rtkit(folder: Path, answer: Callable[[int, int], str | None], installed: bool = True) -> Iterator[MockRtkit]:
    from tests.realtime.mock_rtkit import MockRtkit  # needs jeepney, which is there on Linux

    service = MockRtkit(folder, answer, installed)
    try:
        yield service
    finally:
        service.close()


def test_a_limit_is_used_up_to_where_it_goes() -> None:
    found = python(ASK, rtprio=12)
    assert (found["realtime"], found["highest_priority"]) == ("limit", 12)
    assert (found["given"], found["policy"], found["priority"]) == (True, os.SCHED_FIFO, 9)


def test_the_limit_of_a_login_is_raised_to_what_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without such a limit at hand: what the system would say is put in its mouth."""
    if not scheduling._may_take(1):
        pytest.skip("no real-time priority here")
    raised: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(scheduling, "has_capability", lambda number: False)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, 12))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: raised.append((which, limits)))
    scheduler = scheduling.Scheduler()
    assert (scheduler.way, scheduler.highest, scheduler.takes_itself) == ("limit", 12, True)
    assert raised == [(resource.RLIMIT_RTPRIO, (12, 12))]
    given: list[tuple[bool, int]] = []

    def ask() -> None:
        granted = scheduler.give(threading.get_native_id(), 70)
        given.append((granted, os.sched_getparam(0).sched_priority))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert given == [(True, 9)]


def test_rtkit_is_asked_by_its_rules(tmp_path: Path) -> None:
    with rtkit(tmp_path, lambda thread, priority: "") as service:
        found = python(ASK, service.environment, rtprio=0)
    assert (found["realtime"], found["highest_priority"], found["given"]) == ("rtkit", 20, True)
    assert found["rttime"] == [200_000, 200_000], "it demands a limit first"
    assert [priority for _, priority in service.asked] == [1, 17], "a try, then this thread"
    assert service.asked[1][0] == found["thread"]


@pytest.mark.parametrize(
    ("answer", "installed", "words"),
    [
        ("", False, "rtkit is not installed"),
        ("AccessDenied", True, "rtkit refused: AccessDenied"),
        (None, True, "rtkit did not answer within 2 s"),
    ],
)
def test_a_refusal_is_no_failure(tmp_path: Path, answer: str | None, installed: bool, words: str) -> None:
    with rtkit(tmp_path, lambda thread, priority: answer, installed) as service:
        found = python(ASK, service.environment, rtprio=0)
    assert found["why_not_realtime"] == f"the limit rtprio is 0, and {words}"
    assert (found["realtime"], found["given"], found["policy"]) == (None, None, os.SCHED_OTHER)


def test_without_a_bus_the_reason_is_told(tmp_path: Path) -> None:
    nowhere = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'none'}"}
    found = python(ASK, nowhere, rtprio=0)
    assert found["realtime"] is None
    assert found["why_not_realtime"] == "the limit rtprio is 0, and no D-Bus system bus (No such file or directory)"


def test_native_threads_are_raised_by_rtkit_and_the_refused_are_counted(tmp_path: Path) -> None:
    script = """
import json, time
from rtserver import _engine
from rtserver.worker.scheduling import Scheduler
scheduler = Scheduler()
_engine.plan_threads(highest_priority=0)
worker = _engine.Worker(realtime=True)
time.sleep(0.2)
threads = _engine.audio_threads()
for _ in range(5):
    scheduler.settle(_engine.audio_threads())
print(json.dumps({"threads": threads, "refused": scheduler.refused}))
"""
    with rtkit(tmp_path, lambda thread, priority: "" if priority == 1 else "LimitsExceeded") as service:
        found = python(script, service.environment, rtprio=0)
    (render,) = [thread for thread in found["threads"] if thread["name"] == "rt-render-0"]
    (bounce,) = [thread for thread in found["threads"] if thread["name"] == "rt-bounce-0"]
    assert (render["priority"], bounce["priority"]) == (70, 0)
    assert service.asked[1:] == 3 * [(render["id"], 17)], "three times, and never for the ordinary one"
    assert found["refused"] == 1


# --- memory ---

LOCK = """
import json
from pathlib import Path
def held(name):
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(name)).split()[1])
from rtserver import _engine
from rtserver.worker import locked_memory
from tests.realtime.test_ensemble import random_decoder
before = held("VmRSS")
told = locked_memory.lock(locked_memory.limit_bytes()).to_dict()
after, locked = held("VmRSS"), held("VmLck")
decoder = random_decoder(1, channels=48, layers=10)
print(json.dumps({**told, "grown_kb": after - before, "locked_kb": locked, "with_weights_kb": held("VmLck")}))
"""


def test_all_memory_is_locked_and_none_is_used_up_by_that() -> None:
    if not has_capability(CAP_IPC_LOCK):
        pytest.skip("this user may not lock all memory")
    found = python(LOCK, capabilities="-sys_nice")
    assert found["locked"] == "all" and found["locked_kb"] > 10_000
    assert found["grown_kb"] < 1024, "what nobody touches stays out of memory"


def test_under_a_limit_weights_are_locked_as_far_as_it_goes() -> None:
    found = python(LOCK, capabilities="-sys_nice,-ipc_lock", memlock=4 << 20)
    assert (found["locked"], found["limit_mb"]) == ("weights and rings", 4.0)
    assert found["locked_kb"] == 0 and found["with_weights_kb"] > 500
    nothing = python(LOCK, capabilities="-sys_nice,-ipc_lock", memlock=0)
    assert nothing["locked"] is None and nothing["why_not_locked"] == "the limit memlock is 0"
