"""The plugin's audio callback, traced: it allocates nothing, locks nothing, and of the kernel it asks wake-ups only.

That the tracing finds what it looks for is shown in test_clap_host.py.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.hosts.bundles import Bundles
from tests.hosts.playing import NOBODY, Start, connected, loaded
from tests.hosts.signals import sine
from tests.server.harness import ServerProcess, eventually

NOTHING = {"allocations": 0, "frees": 0, "locks": 0, "signals": 0, "system_calls": {}}
RATE, BLOCK = 384000, 16  # the shortest pace: a million blocks in 42 seconds


@pytest.mark.parametrize("blocks", [50_000, pytest.param(1_000_000, marks=pytest.mark.hosts)])
@pytest.mark.parametrize("model", ["loopback", "tiny"])
def test_the_callback_asks_for_nothing(
    start_clap: Start, bundles: Bundles, clap_program: Path, tiny_pack: Path, tmp_path: Path, blocks: int, model: str
) -> None:
    """While it plays, parameters change, and the worker dies and comes back."""
    server = ServerProcess(tmp_path / "log", "--model", str(tiny_pack) if model == "tiny" else model).wait_ready()
    try:
        host = loaded(start_clap, (bundles, clap_program), server.port).create()
        host.activate(RATE, BLOCK)
        connected(host)
        frames = blocks * BLOCK
        for frame in range(0, frames, frames // 50):
            turn = frame // (frames // 50)
            for name, value in (
                ("Mix", turn % 101), ("Output gain", turn % 10 - 5), ("Gate", -turn), ("Bypass", turn % 7 == 3),
                ("Panic", turn % 10 == 5), ("Instrument", turn % 3), ("Seed", turn), ("Fallback", turn % 2),
                ("Temperature", turn / 50),
            ):  # fmt: skip
                host.event(frame, name, float(value))
        host.start(sine(RATE, RATE), (BLOCK, BLOCK, 0, BLOCK - 1, 1), "spin", "traced", frames=frames, keep=False)
        eventually(lambda: host.ask("position")["frames"] > frames // 4, "a quarter")
        os.kill(server.status()["worker"]["pid"], signal.SIGKILL)
        _, report = host.finish()
        assert server.status()["worker"]["restarts"] == 1
    finally:
        server.stop()
    if not report["traced"]:
        pytest.skip("the kernel has no seccomp filters")
    misses = host.get("Misses")
    print(f"{report['blocks']} blocks in {report['seconds']:.0f} s, {misses:.0f} misses: {report['calls']}")
    assert report["blocks"] >= blocks and report["errors"] == 0
    assert 0 < misses < 0.95 * report["blocks"], "both ways are traced: translation, and dry in its place"
    assert report["calls"] == NOTHING


def test_without_a_server_it_asks_for_nothing_either(start_clap: Start, bundles: Bundles, clap_program: Path) -> None:
    host = loaded(start_clap, (bundles, clap_program), NOBODY).create()
    host.activate(48000, 64)
    _, report = host.play(sine(48000, 48000), (64,), "free", "traced", frames=50_000 * 64, keep=False)
    assert report["calls"] == NOTHING or not report["traced"]
