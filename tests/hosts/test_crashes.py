"""A host's crash is the host's own only if the stack says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts import crashes
from tests.hosts.ardour import EXPORTING

THEIRS = """
Program terminated with signal SIGABRT, Aborted.
#0  __pthread_kill_implementation (threadid=<optimized out>, signo=signo@entry=6) at ./nptl/pthread_kill.c:44
[Current thread is 1 (Thread 0x7fb1353a0bc0 (LWP 18208))]
#0  __pthread_kill_implementation (threadid=<optimized out>, signo=signo@entry=6) at ./nptl/pthread_kill.c:44
#1  0x00007ff1a24b6f5f in __GI___libc_free (mem=<optimized out>) at ./malloc/malloc.c:3385
#2  0x00007ff1a2f87cbc in ARDOUR::PortExportChannel::~PortExportChannel() () from /usr/lib/ardour7/libardour.so.3
#3  0x0000558f8242576a in boost::detail::sp_counted_base::release() ()
#4  0x0000558f8242378c in main ()
"""
OURS = "#3  0x00007fcbe1186209 in f() () from /tmp/home/.vst3/rtserver.vst3/Contents/x86_64-linux/rtserver.so"
OUR_FUNCTION = "#3  0x00007fcbe1186209 in rtbridge::Bridge::process(float const*, float*, unsigned int) ()"
SOMEBODY = "#3  0x00007fcbe1186209 in ?? ()"
THEIR_LIBRARY = "#3  0x00007fcbe1186209 in ?? () from /usr/lib/ardour7/backends/libdummy_audiobackend.so"


def with_frame(frame: str) -> str:
    lines = THEIRS.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("#3"))
    return "\n".join([*lines[:at], frame, *lines[at + 1 :]])


def test_the_last_stack_told_is_taken() -> None:
    assert len(crashes.frames(THEIRS)) == 5


def test_a_stack_of_the_hosts_export_is_the_hosts() -> None:
    assert crashes.not_ours(THEIRS, EXPORTING)
    assert crashes.not_ours(with_frame(THEIR_LIBRARY), EXPORTING)


@pytest.mark.parametrize("frame", [OURS, OUR_FUNCTION, SOMEBODY])
def test_one_frame_of_ours_or_of_nobody_is_enough_to_doubt(frame: str) -> None:
    assert not crashes.not_ours(with_frame(frame), EXPORTING)


@pytest.mark.parametrize(
    "told", ["", "no core in /tmp", "#0  0x01 in ARDOUR::Session::process() () from /usr/lib/x.so"]
)
def test_without_a_stack_of_the_export_nothing_is_proved(told: str) -> None:
    assert not crashes.not_ours(told, EXPORTING)


def test_a_core_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    told = crashes.stack(Path("/bin/true"), tmp_path)
    assert "no core" in told and not crashes.not_ours(told, EXPORTING)
