"""The audio worker's threads have the cores and the priorities that its status says they have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver.client import Bridge
from rtserver.worker.scheduling import CAP_SYS_NICE, has_capability
from tests.server.harness import ServerProcess, eventually, noise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

REALTIME = (os.SCHED_FIFO, os.SCHED_RR) if sys.platform == "linux" else ()
RESET_ON_FORK = 0x40000000
needs_two = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs two processors to choose from"
)
needs_priority = pytest.mark.skipif(not has_capability(CAP_SYS_NICE), reason="no real-time priority for this user")
Thread = tuple[int, int, set[int]]  # policy, priority, processors


def threads(pid: int) -> dict[str, Thread]:
    """The threads of a process by name; those that share one are one. One that ends meanwhile is none."""
    found: dict[str, Thread] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        number = int(task.name)
        with suppress(ProcessLookupError, FileNotFoundError):
            policy = os.sched_getscheduler(number) & ~RESET_ON_FORK
            priority = os.sched_getparam(number).sched_priority
            found[(task / "comm").read_text().strip()] = (policy, priority, os.sched_getaffinity(number))
    return found


def playing(server: ServerProcess, session: int) -> dict[str, Thread]:
    """The worker's threads once those of the session are there."""
    worker = server.status()["worker"]["pid"]
    return eventually(lambda: (found := threads(worker)).get(f"rt-intake-{session}") and found, "the session's thread")


@needs_two
@needs_priority
def test_every_thread_is_where_the_status_says(start_server: Callable[..., ServerProcess], tiny_pack: Path) -> None:
    server = start_server("--model", str(tiny_pack), environment={"RTSERVER_PIN": "on"})
    told = server.status()["worker"]["scheduling"]
    assert (told["realtime"], told["pinned"], told["why_not_realtime"]) == ("capability", True, "")
    allowed = os.sched_getaffinity(server.pid)
    decoders, encoder = set(told["decoder_cores"]), told["encoder_core"]
    assert decoders and decoders <= allowed and encoder in allowed - decoders
    with Bridge(server.port, offline=True) as bridge, Bridge(server.port, transport="osc") as remote:
        bridge.process(np.zeros(4800, np.float32)[:128])
        remote.process(np.zeros(128, np.float32))
        found = playing(server, bridge.session)
        found.update(playing(server, remote.session))
    for index, core in enumerate(told["decoder_cores"]):
        assert found[f"rt-render-{index}"] == (os.SCHED_FIFO, 70, {core})
        policy, _, where = found[f"rt-bounce-{index}"]
        assert (policy, where) == (os.SCHED_OTHER, allowed), "a bounce gives way to everything, on any core"
    assert found["rt-encoder"] == (os.SCHED_FIFO, 40, {encoder})
    others = set(told["other_cores"])
    assert encoder in others and not others & decoders
    for session in (bridge.session, remote.session):
        assert found[f"rt-intake-{session}"] == (os.SCHED_FIFO, 72, others)
    assert found["rt-receive-0"] == (os.SCHED_FIFO, 73, others)
    assert found[f"rt-send-{remote.session}"] == (os.SCHED_FIFO, 71, others)
    after = eventually(
        lambda: (now := threads(server.status()["worker"]["pid"])) and "rt-intake-1" not in now and now,
        "the sessions' threads end",
    )
    assert "rt-send-2" not in after and "rt-render-0" in after


@needs_two
@pytest.mark.parametrize(("arguments", "pin"), [(("--no-pin",), ""), ((), "off")])
def test_pinning_can_be_switched_off(
    start_server: Callable[..., ServerProcess], arguments: tuple[str, ...], pin: str
) -> None:
    server = start_server("--model", "identity16k", *arguments, environment={"RTSERVER_PIN": pin} if pin else {})
    told = server.status()["worker"]["scheduling"]
    assert (told["pinned"], told["why_not_pinned"], told["decoder_cores"]) == (False, "switched off", [])
    with Bridge(server.port, offline=True) as bridge:
        found = playing(server, bridge.session)
    allowed = os.sched_getaffinity(server.pid)
    assert all(where == allowed for _, _, where in found.values()), found


@needs_priority
def test_one_core_is_shared_without_pinning(start_server: Callable[..., ServerProcess]) -> None:
    if shutil.which("taskset") is None:
        pytest.skip("taskset (util-linux) is missing")
    core = min(os.sched_getaffinity(0))
    server = start_server("--model", "identity16k", under=("taskset", "-c", str(core)))
    told = server.status()["worker"]["scheduling"]
    assert (told["pinned"], told["why_not_pinned"], told["realtime"]) == (False, "there is one core", "capability")
    assert all(where == {core} for _, _, where in threads(server.status()["worker"]["pid"]).values())


def without_privileges() -> tuple[str, ...]:
    if not has_capability(CAP_SYS_NICE):
        return ()
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("can't drop capabilities here: setpriv (util-linux) and root are needed")
    return ("setpriv", "--bounding-set", "-sys_nice,-ipc_lock")


def plays(server: ServerProcess) -> int:
    """Send something through identity16k and hear it; the session's number."""
    sent = noise(9600, seed=6)
    with Bridge(server.port, model="identity16k", offline=True) as bridge:
        heard = np.concatenate([bridge.process(sent[at : at + 128]) for at in range(0, len(sent), 128)])
        assert np.abs(heard[bridge.latency_frames :]).max() > 0.05
        return bridge.session


def test_a_user_who_may_nothing_is_served_and_told_why(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    nobody = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'none'}"}
    server = start_server("--model", "identity16k", under=without_privileges(), environment=nobody)
    worker = server.status()["worker"]
    if worker["scheduling"]["realtime"] == "limit":
        pytest.skip("this user may take real-time priority by the limit rtprio")
    assert worker["realtime_granted"] is False and worker["scheduling"]["realtime"] is None
    assert "no D-Bus system bus" in worker["scheduling"]["why_not_realtime"]
    assert worker["scheduling"]["pinned"] is False, "an ordinary thread must be free to move"
    assert all(policy == os.SCHED_OTHER for policy, _, _ in threads(worker["pid"]).values())
    plays(server)


@pytest.fixture
def real_rtkit(tmp_path: Path) -> Iterator[dict[str, str]]:
    """dbus-daemon, polkitd and rtkit-daemon on a bus of their own; gives the environment that leads to it."""
    programs = {
        name: next((str(path) for path in map(Path, places) if path.exists()), None)
        for name, places in {
            "dbus-daemon": ("/usr/bin/dbus-daemon",),
            "polkitd": ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd"),
            "rtkit-daemon": ("/usr/libexec/rtkit-daemon", "/usr/lib/rtkit/rtkit-daemon"),
        }.items()
    }
    missing = [name for name, path in programs.items() if path is None]
    if missing or os.geteuid() != 0 or not has_capability(CAP_SYS_NICE):
        pytest.skip(f"rtkit can't be run here: {', '.join(missing) or 'root is needed'}")
    address = f"unix:path={tmp_path / 'bus'}"
    everything = '<allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/>'
    (tmp_path / "bus.conf").write_text(
        f"<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>"
        f'<policy context="default">{everything}<allow send_destination="*"/></policy></busconfig>'
    )
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:  # rtkit and polkit run as users of their own
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    environment = {"DBUS_SYSTEM_BUS_ADDRESS": address}
    running: list[subprocess.Popen[bytes]] = []

    def run(name: str, *arguments: str) -> None:
        running.append(
            subprocess.Popen(
                [str(programs[name]), *arguments],
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    try:
        run("dbus-daemon", f"--config-file={tmp_path / 'bus.conf'}", "--nofork", "--nopidfile")
        eventually((tmp_path / "bus").exists, "the bus")
        run("polkitd", "--no-debug")
        run("rtkit-daemon", "--no-limit-resources")
        time.sleep(1.0)
        if any(process.poll() is not None for process in running):
            pytest.skip("rtkit does not start here")
        yield environment
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


@needs_two
def test_rtkit_gives_its_priority_to_every_thread(
    start_server: Callable[..., ServerProcess], real_rtkit: dict[str, str]
) -> None:
    server = start_server("--model", "identity16k", under=without_privileges(), environment=real_rtkit)
    worker: dict[str, Any] = server.status()["worker"]
    told = worker["scheduling"]
    assert (told["realtime"], told["highest_priority"], told["pinned"]) == ("rtkit", 20, True)
    with Bridge(server.port, model="identity16k") as bridge:
        bridge.process(np.zeros(128, np.float32))
        names = ("rt-encoder", "rt-render-0", "rt-receive-0", f"rt-intake-{bridge.session}")

        def settled() -> dict[str, Thread] | None:
            found = threads(worker["pid"])
            return found if all(name in found and found[name][0] in REALTIME for name in names) else None

        found = eventually(settled, "every thread has its priority")
    assert [found[name][1] for name in names] == [16, 17, 20, 19], "the order is kept under a ceiling of 20"
    assert found["rt-render-0"][2] == {told["decoder_cores"][0]}
    assert found["rt-bounce-0"][0] == os.SCHED_OTHER
    plays(server)
    assert server.status()["worker"]["scheduling"]["threads_refused"] == 0
