"""What is said of a start is what happened: first sound, memory by process, and the table between its markers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import marked, startup
from rtserver.bench import first_sound
from rtserver.bench.own_server import OwnServer, resident_kb
from rtserver.bench.stream import StreamOptions
from rtserver.errors import UserError


@pytest.mark.parametrize(("model", "transport"), [("identity16k", "shm"), ("loopback", "osc")])
def test_first_sound_is_after_the_launch_and_before_now(model: str, transport: Any) -> None:
    options = StreamOptions(model, transport=transport)
    with OwnServer([model], arguments=options.server_arguments, wait=False) as server:
        launched_s = server.started_ns / 1e9
        first_s = first_sound.listen(options, server)
        now_s = time.monotonic()
        server.wait_ready()
        parts = server.resident_parts_mb()
    assert 0.1 < first_s <= now_s - launched_s
    assert all(10.0 < parts[name] < 500.0 for name in ("control", "worker"))
    assert server.started_ns / 1e9 + first_s > launched_s


def test_a_server_that_ends_is_not_waited_for() -> None:
    options = StreamOptions("no-such-model")
    started_s = time.monotonic()
    with (
        pytest.raises(UserError, match="no-such-model not found"),
        OwnServer(["no-such-model"], arguments=options.server_arguments, wait=False) as server,
    ):
        first_sound.listen(options, server)
    assert time.monotonic() - started_s < 20.0


def test_shared_pages_count_once(tmp_path: Path) -> None:
    import mmap

    size = 64 << 20
    (tmp_path / "pages").write_bytes(bytes(size))
    with (tmp_path / "pages").open("rb") as file:
        before = resident_kb(os.getpid())
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        sum(mapped[at] for at in range(0, size, 4096))
        alone = resident_kb(os.getpid()) - before
        child = os.fork()
        if child == 0:
            sum(mapped[at] for at in range(0, size, 4096))
            time.sleep(60)
        time.sleep(0.5)
        together = resident_kb(os.getpid()) - before
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert alone > 0.9 * size / 1024
    assert together < 0.7 * alone


def report(warm: list[float], megabytes: float) -> dict[str, Any]:
    return {
        **{"pack": "p", "precision": "int8", "isa": "scalar", "runs": len(warm), "steal_ms": 3.0},
        "first_sound_s": {"warm": warm, "cold": [9.0, 8.0, 7.0]},
        "resident_mb": {"control": 10.0, "worker": megabytes - 15.0, "other": 5.0},
    }


def test_the_table_and_what_was_promised() -> None:
    told = startup.table([report([2.0, 1.0, 4.0], 300.0)])
    assert "| p, int8 | 2.0 s (1.0 to 4.0) | 8.0 s (7.0 to 9.0) | 10, 285, 5, 300 MB |" in told.splitlines()
    assert startup.kept(report([2.9, 2.9, 60.0], 500.0))
    assert not startup.kept(report([3.1, 3.1, 1.0], 100.0))
    assert not startup.kept(report([1.0], 501.0))


def test_a_table_goes_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<a>\nold\n<b>\nbelow\n")
    for text in ("new\ntable", "newer"):
        marked.replace(page, "<a>", "<b>", text)
        assert page.read_text() == f"above\n<a>\n{text}\n<b>\nbelow\n"
    for begin, end in (("<c>", "<b>"), ("<a>", "<c>"), ("<b>", "<a>")):
        with pytest.raises(ValueError, match="has no lines"):
            marked.replace(page, begin, end, "x")
    assert "newer" in page.read_text()
