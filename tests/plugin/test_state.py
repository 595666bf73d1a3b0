"""A saved state comes back whole or not at all."""

from __future__ import annotations

import binascii
import random

import pytest

from tests.plugin.driver import Refused
from tests.server.harness import free_port

VALUES = {
    "mix": 33.3,
    "input_gain_db": -12.25,
    "output_gain_db": 3.5,
    "gate_db": -55.0,
    "temperature": 0.7,
    "seed": 4711.0,
    "fallback": 1.0,
    "margin": 2.0,
    "bypass": 1.0,
    "bounce": 1.0,
    "instrument": 2.0,
}


def sealed(body: str) -> str:
    """A state with the right check of the whole."""
    return f"{body}end {binascii.crc32(body.encode()):08x}\n"


def all_values(plugin):
    return {symbol: plugin.get(symbol) for symbol in VALUES}


def test_everything_comes_back(plugin_of, server):
    first = plugin_of(server.port)
    for symbol, value in VALUES.items():
        first.set(symbol, value)
    first.activate()
    state = first.save()
    assert "instrument 0 - 0 0 1 loopback" in state
    second = plugin_of(free_port())
    second.load(state)
    assert all_values(second) == pytest.approx(VALUES)
    assert second.save() == state


def test_the_latency_is_known_before_any_server_answers(plugin_of, server):
    first = plugin_of(server.port)
    reported = first.activate(44100, 256)
    second = plugin_of(free_port())
    second.load(first.save())
    assert second.activate(44100, 256) == reported


def test_a_panic_is_not_kept(plugin_of):
    plugin = plugin_of(free_port())
    plugin.set("panic", 1)
    plugin.load(plugin.save())
    assert "panic" not in plugin.save()


def test_garbage_is_refused_and_changes_nothing(plugin_of, server):
    plugin = plugin_of(server.port)
    plugin.set("mix", 12)
    plugin.activate()
    good = plugin.save().encode()
    rng = random.Random(5)
    bad: list[bytes] = [b"", b"\0", b"\n", b"rtserver-plugin", b"rtserver-plugin 1\n", b"x" * 300_000, b"{}"]
    bad += [good[:length] for length in range(0, len(good), 7)]
    bad += [bytes(rng.randrange(256) for _ in range(n)) for n in (1, 10, 1000, 100_000)]
    for _ in range(100):
        at = rng.randrange(len(good))
        bad.append(good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1 :])
    before = all_values(plugin)
    for state in bad:
        with pytest.raises(Refused):
            plugin.load(state)
    assert all_values(plugin) == before
    assert plugin.save().encode() == good


@pytest.mark.parametrize(
    "line",
    [
        "set mix",
        "set mix nan",
        "set mix 1 2",
        "set mix 1e999",
        "instrument",
        "instrument 999 - 0 0 1 loopback %",
        "instrument 1 abc 0 0 1 loopback %",
        "instrument 1 - -5 0 1 loopback %",
        "instrument 1 - 0 0 1 % %",
        "instrument 1 - 0 0 1 %zz %",
        "instrument 1.5 - 0 0 1 loopback %",
        "",
    ],
)
def test_lines_that_make_no_sense_are_refused(plugin_of, line):
    with pytest.raises(Refused, match="can't be read"):
        plugin_of(free_port()).load(sealed(f"rtserver-plugin 1\n{line}\n"))


def test_a_later_version_is_refused_by_number_and_unknown_lines_are_passed_over(plugin_of):
    plugin = plugin_of(free_port())
    with pytest.raises(Refused, match="version 2, expected 1"):
        plugin.load(sealed("rtserver-plugin 2\nset mix 5\n"))
    plugin.load(sealed("rtserver-plugin 1\nset mix 5\nset later 7\nlater 1 2 3\n"))
    assert plugin.get("mix") == 5
    plugin.load(sealed("rtserver-plugin 1\nset mix 5000\n"))
    assert plugin.get("mix") == 100
