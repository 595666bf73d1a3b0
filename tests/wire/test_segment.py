"""Segments: only a whole one of this version is opened, and none is left behind, whoever dies."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtserver import _engine, latency

SHM = Path("/dev/shm")
PARTS = latency.compute(48000, 128, 160, 0).to_dict()

pytestmark = pytest.mark.skipif(not SHM.is_dir(), reason="looks at the segments as files, as Linux shows them")


def create(name: str | None, **changes: object) -> _engine.Segment:
    wanted: dict[str, object] = {"sample_rate_hz": 48000, "max_block_frames": 128, "channels": 1, "latency": PARTS}
    return _engine.Segment.create(name, **{**wanted, **changes})  # type: ignore[arg-type]


@pytest.fixture
def name() -> Iterator[str]:
    name = _engine.Segment.name_for(os.getpid(), 424242, 1)
    yield name
    (SHM / name[1:]).unlink(missing_ok=True)


def test_open_sees_what_create_wrote(name: str) -> None:
    made = create(name, session=7, channels=2)
    opened = _engine.Segment.open(name)
    assert opened.describe() == made.describe()
    assert opened.get("server_pid") == os.getpid()
    opened.set("mix", 0.25)
    assert made.get("mix") == 0.25


def test_unlinked_it_is_gone_but_still_mapped(name: str) -> None:
    made = create(name)
    opened = _engine.Segment.open(name)
    made.unlink()
    assert not (SHM / name[1:]).exists()
    opened.set("bypass", 1)
    assert made.get("bypass") == 1


def test_dropped_it_is_gone(name: str) -> None:
    made = create(name)
    assert (SHM / name[1:]).exists()
    del made
    assert not (SHM / name[1:]).exists()


def test_a_name_is_taken_once(name: str) -> None:
    made = create(name)
    with pytest.raises(RuntimeError, match="can't be created"):
        create(name)
    assert made.name == name and (SHM / name[1:]).exists()


def corrupt(name: str, offset: int, value: int) -> None:
    with (SHM / name[1:]).open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack("<I", value))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 0, "isn't a finished rtserver segment"),
        (4, 99, "has version 99, expected 1"),
        (8, 4096, "outside of its memory"),
        (28, 0, "sample_rate_hz"),
        (32, 1 << 30, "max_block_frames"),
        (36, 3, "channels: expected 1 or 2, found 3"),
        (40, 0, "no rings"),
        (40, 12345, "power of two"),
        (40, 1 << 31, "ring_frames"),
        (40, 1 << 20, "outside of its memory"),
        (44, 0, "outside of its memory"),
        (48, 0xFFFFFFF0, "outside of its memory"),
        (52, 1, "outside of its memory"),
        (64, 1 << 31, "latency: reported"),
    ],
)
def test_a_header_that_lies_is_refused(name: str, offset: int, value: int, message: str) -> None:
    made = create(name)
    corrupt(name, offset, value)
    with pytest.raises(RuntimeError, match=message):
        _engine.Segment.open(name)
    made.unlink()


@pytest.mark.parametrize("size", [0, 100, 65536])
def test_a_truncated_segment_is_refused(name: str, size: int) -> None:
    made = create(name)
    os.truncate(SHM / name[1:], size)
    with pytest.raises(RuntimeError, match=r"smaller than a header|outside of its memory"):
        _engine.Segment.open(name)
    made.unlink()


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="can't be opened"):
        _engine.Segment.open("/rtserver-1-1-999999")


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 0},
        {"channels": 3},
        {"sample_rate_hz": 7999},
        {"max_block_frames": 0},
        {"ring_frames": 1000},
        {"ring_frames": 64},
        {"latency": {**PARTS, "reported": 1}},
        {"transport": "pigeon"},
    ],
)
def test_impossible_geometries_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|latency"):
        create(None, **changes)


def test_a_bridge_takes_only_a_segment_that_fits() -> None:
    parts = latency.compute(48000, 128, 160, 0)
    for rate, block, channels, delay in (
        (44100, 128, 1, parts.reported),
        (48000, 256, 1, parts.reported),
        (48000, 128, 2, parts.reported),
        (48000, 128, 1, parts.reported + 1),
    ):
        with pytest.raises(ValueError, match="the segment"):
            _engine.Bridge(rate, block, channels, delay, parts.fade).attach(create(None))


def test_segments_of_dead_servers_are_swept_and_others_are_left(name: str) -> None:
    made = create(name)
    code = (
        "import os, signal\nfrom rtserver import _engine\n"
        f"segment = _engine.Segment.create(_engine.Segment.name_for(os.getpid(), 1, 1), sample_rate_hz=48000,"
        f" max_block_frames=128, channels=1, latency={PARTS!r})\n"
        "print(segment.name, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    left = SHM / child.stdout.strip()[1:]
    assert left.exists(), "a killed server leaves its segment: that is what sweeping is for"
    assert _engine.Segment.sweep_stale() >= 1
    assert not left.exists()
    assert (SHM / made.name[1:]).exists()
