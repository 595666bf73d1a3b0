"""The audio callback asks nothing of the heap, of locks or of the kernel but to wake the server: over a million blocks,
by interposed functions and by the kernel's own filter. Planted faults show that the check can fail."""

from __future__ import annotations

import sys

import pytest

from tests.plugin.driver import Plugin, Refused
from tests.server.harness import free_port

COUNTERS = ("allocations", "locks", "waits", "kernel_calls")
MILLION = 1_000_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts calls by means of glibc and seccomp")


def confined(plugin: Plugin, blocks: int, size: int, pace: float, fault: str = "none") -> dict[str, float]:
    try:
        return plugin.numbers(f"confined {blocks} {size} {pace} {fault}")
    except Refused as refused:
        pytest.skip(str(refused))


def test_a_million_blocks_ask_for_nothing(plugin_of, server):
    plugin = plugin_of(server.port)
    plugin.activate(48000, 32, 2)
    found = confined(plugin, MILLION, 32, 0)
    assert found["blocks"] == MILLION and found["failed"] == 0
    assert {name: found[name] for name in COUNTERS} == dict.fromkeys(COUNTERS, 0)


def test_nor_do_blocks_in_real_time_while_the_server_dies(plugin_of, start_server):
    server = start_server("--model", "identity16k")
    plugin = plugin_of(server.port)
    plugin.activate(48000, 64, 1)
    plugin.send("confined 2250 64 1 none")
    server.stop(9)
    found = {name: float(value) for name, value in (pair.split("=") for pair in plugin.answer().split())}
    assert found["misses"] > 0
    assert {name: found[name] for name in COUNTERS} == dict.fromkeys(COUNTERS, 0)


@pytest.mark.parametrize(
    ("fault", "counter", "count"),
    [("new", "allocations", 2), ("lock", "locks", 1), ("sleep", "waits", 1), ("write", "kernel_calls", 1)],
)
def test_planted_faults_are_found(plugin_of, fault, counter, count):
    plugin = plugin_of(free_port())
    plugin.activate(48000, 64, 1)
    found = confined(plugin, 1000, 64, 0, fault)
    assert {name: found[name] for name in COUNTERS} == {**dict.fromkeys(COUNTERS, 0), counter: count}
