"""`kill -9` of the audio worker and of the control process during playback: the audio thread never notices.

With loopback, translation and dry signal are the same, so whatever happens the output is the input, delayed: no click,
no shift, no gap. With a model, the fade between two different signals is bounded.

What a callback costs is looked at twice. In real time, in CPU time: a core that is taken away in the middle of a call
(by a hypervisor, an interrupt) makes it long without the plugin's doing, so beside every call the thread wakes another
one and is busy for as long as a call usually takes, and the plugin may have no more long calls than that. And step by
step, in instructions, which nothing but the plugin can make more.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver.errors import UserError
from tests.hosts.bundles import Bundles
from tests.hosts.clap_host import ClapHost
from tests.hosts.playing import Connection, Start, Variant, bounce, connected, loaded
from tests.hosts.signals import Floats, largest_step, sine
from tests.server.harness import ServerProcess, eventually

RATE, BLOCK = 48000, 256
RECONNECT_SECONDS = 2.0
CPU_SHARE = 0.10  # of a block's own duration
MOST_INSTRUCTIONS = 4  # times the median of all blocks
CHANCE = 1e-4  # of the comparison with the reference to fail without reason
FADE_FRAMES = 48  # rtserver.latency.FADE_MS
ROUNDS_A_PLAY = 5


class Servers:
    """A server that is killed and started again on the same port."""

    def __init__(self, folder: Path, *models: str) -> None:
        self.folder, self.models = folder, [word for name in models for word in ("--model", name)]
        self.count = 0
        self.current = self.start(None)

    def start(self, port: int | None) -> ServerProcess:
        self.count += 1
        return ServerProcess(self.folder / f"server{self.count}.log", *self.models, port=port).wait_ready()

    def kill_worker(self) -> None:
        """And wait until another one runs."""
        before = self.status()["worker"]
        os.kill(before["pid"], signal.SIGKILL)

        def replaced() -> bool:
            worker = self.status()["worker"]
            return worker["restarts"] > before["restarts"] and worker["state"] == "running"

        eventually(replaced, "another worker")

    def kill_control(self) -> None:
        """And put another server in its place."""
        self.current.stop(signal.SIGKILL)
        self.current = self.start(self.current.port)

    def status(self) -> dict[str, Any]:
        """Asked again where a busy machine leaves no time for an answer within two seconds."""

        def answer() -> dict[str, Any] | None:
            try:
                return self.current.status()
            except UserError:
                return None

        found: dict[str, Any] = eventually(answer, "the server's status")
        return found

    def generations(self) -> list[tuple[int, int]]:
        return [(s["session"], s["generation"]) for s in self.status()["sessions"]]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., Servers]]:
    started: list[Servers] = []

    def start(*models: str) -> Servers:
        started.append(Servers(tmp_path, *models))
        return started[-1]

    yield start
    for each in started:
        each.current.stop()


def reconnected(servers: Servers, host: ClapHost, old: list[tuple[int, int]]) -> float:
    """Seconds until the plugin has a new segment and says that it is connected."""
    returned = time.monotonic()
    eventually(
        lambda: servers.generations() not in ([], old) and host.get("Connection") == Connection.CONNECTED, "back again"
    )
    return time.monotonic() - returned


def kill_in_turn(servers: Servers, host: ClapHost, rounds: int) -> list[float]:
    """Worker, control process, worker ...; the seconds that each reconnection took."""
    seconds = []
    for turn in range(rounds):
        before = servers.generations()
        if turn % 2 == 0:
            servers.kill_worker()
        else:
            servers.kill_control()
            before = []  # numbers start anew
        seconds.append(reconnected(servers, host, before))
        if seconds[-1] > RECONNECT_SECONDS:
            print(f"{seconds[-1]:.2f} s after the death of the {'worker' if before else 'control process'}")
            print(servers.current.log.read_text()[-1000:])
        time.sleep(0.3)  # of translation before the next death
    return seconds


def as_likely(plugin: int, reference: int) -> float:
    """The chance that of so many long calls no fewer are the plugin's, when each may as well be the reference's."""
    both = plugin + reference
    return sum(comb(both, k) for k in range(plugin, both + 1)) / 2**both


def delayed(x: Floats, latency: int, frames: int, start: int) -> Floats:
    """`frames` frames from `start` on of x played again and again, `latency` frames late."""
    at = np.arange(start - latency, start - latency + frames)
    wanted = x[at % len(x)]
    wanted[at < 0] = 0
    return wanted


@pytest.mark.parametrize(
    "kills",
    [2, pytest.param(100, marks=[pytest.mark.hosts, pytest.mark.timeout(3000)])],
    ids=["twice", "a_hundred_times"],
)
def test_the_output_is_the_delayed_input_whatever_dies(
    start_clap: Start, variant: Variant, servers: Callable[..., Servers], kills: int
) -> None:
    served = servers("loopback")
    host = loaded(start_clap, variant, served.current.port).create()
    latency = host.activate(RATE, BLOCK)
    connected(host)
    host.set("Seed", 77)
    x = sine(RATE, RATE)  # whole periods a second: it can be played again and again
    seconds: list[float] = []
    overruns = reference = faults = blocks = 0
    misses = host.get("Misses")
    while len(seconds) < kills:
        host.ask("reset")
        host.start(x, (BLOCK,), "sleep", frames=1 << 26)
        time.sleep(0.5)
        seconds += kill_in_turn(served, host, min(ROUNDS_A_PLAY, kills - len(seconds)))
        y, report = host.finish("stop")
        assert report["sleeps"] == 0, "the audio thread has slept"
        assert report["cpu_us_p50"] * RATE / BLOCK < CPU_SHARE * 1e6
        assert report["errors"] == 0 and report["frames"] > RATE
        print(
            f"{report['cpu_us_p50']:.0f} us in the middle, {100 * report['cpu_share_max']:.1f} % of a block at most"
            f" ({report['worst']}), {report['overruns']} over a tenth; reference {report['reference_us_p50']:.0f} us,"
            f" {100 * report['reference_share_max']:.1f} %, {report['reference_overruns']} over a tenth"
        )
        overruns, reference = overruns + report["overruns"], reference + report["reference_overruns"]
        faults, blocks = faults + report["faults"], blocks + report["blocks"]
        step = largest_step(np.concatenate([x, x[:1]]))
        for at in range(0, report["frames"], 10 * RATE):
            piece = y[at : min(at + 10 * RATE + 1, report["frames"])]
            assert np.allclose(piece, delayed(x, latency, len(piece), at), rtol=0, atol=1e-6), at
            assert largest_step(piece) <= step + 1e-6
    print(
        f"{len(seconds)} deaths: back after {np.median(seconds):.2f} s (median), {max(seconds):.2f} s (most);"
        f" of {blocks} callbacks {overruns} over a tenth of a block, of as many of the reference {reference};"
        f" {faults} page faults"
    )
    assert as_likely(overruns, reference) > CHANCE
    assert faults == 0
    assert max(seconds) < RECONNECT_SECONDS
    assert host.get("Misses") > misses, "they were noticed"
    (session,) = served.current.status()["sessions"]
    assert session["parameters"]["seed"] == 77 and session["latency_frames"]["reported"] == latency
    assert host.quit() == 0


@pytest.mark.parametrize(
    "kills",
    [1, pytest.param(100, marks=[pytest.mark.hosts, pytest.mark.timeout(3000)])],
    ids=["once", "a_hundred_times"],
)
def test_no_callback_works_more_than_others_whatever_dies(
    start_clap: Start, bundles: Bundles, clap_program: Path, servers: Callable[..., Servers], kills: int
) -> None:
    """Counted instruction by instruction, so that the machine has no part in it. Of a small block, whose fixed part is
    the greatest share."""
    block = 16
    served = servers("loopback")
    host = loaded(start_clap, (bundles, clap_program), served.current.port).create()
    host.activate(RATE, block)
    connected(host)
    x = sine(RATE, RATE)
    _, timed = host.play(x[: RATE // 2], (block,), "sleep", keep=False)
    host.start(x, (block,), "free", "counted", frames=1 << 26, keep=False)
    kill_in_turn(served, host, kills)
    _, report = host.finish("stop")
    if not report["counted"]:
        pytest.skip("instructions can't be counted here")
    usual, most = report["instructions_p50"], report["instructions_max"]
    us = most * timed["cpu_us_p50"] / usual
    print(
        f"{report['blocks']} callbacks of {block} frames, {kills} deaths: {usual:.0f} instructions in the middle,"
        f" {most:.0f} at most: {us:.1f} us, {100 * us * RATE / block / 1e6:.1f} % of a block"
    )
    assert host.get("Misses") > 0 and report["blocks"] > 5 * kills, "they were noticed"
    assert most < MOST_INSTRUCTIONS * usual
    assert us * 1e-6 < CPU_SHARE * block / RATE
    assert host.quit() == 0


def test_the_same_sound_comes_back(
    start_clap: Start, variant: Variant, servers: Callable[..., Servers], tiny_pack: Path
) -> None:
    served = servers(str(tiny_pack))
    host = loaded(start_clap, variant, served.current.port).create()
    host.activate(RATE, BLOCK)
    connected(host)
    host.set("Instrument", next(n for n in range(10) if "strings" in host.text("Instrument", n)))
    for name, value in {"Seed": 5, "Temperature": 0.5, "Mix": 75, "Gate": -60, "Input gain": -3}.items():
        host.set(name, value)
    x = sine(RATE, RATE)
    host.start(x, (BLOCK,), "sleep", frames=1 << 26)
    eventually(lambda: served.current.status()["sessions"][0]["parameters"]["decoder"] == "strings", "parameters")
    expected = served.current.status()["sessions"][0]["parameters"]
    assert (expected["seed"], expected["temperature"], expected["mix"]) == (5, 0.5, 0.75)
    kill_in_turn(served, host, 2)
    (session,) = served.current.status()["sessions"]
    y, report = host.finish("stop")
    assert session["parameters"] == expected
    assert report["sleeps"] == 0 and report["errors"] == 0
    assert np.isfinite(y).all()
    assert host.quit() == 0


def test_the_fade_between_translation_and_dry_has_no_step(
    start_clap: Start, variant: Variant, servers: Callable[..., Servers], tiny_pack: Path
) -> None:
    """No step is above that of either signal and the slope of the fade between them."""
    served = servers(str(tiny_pack))
    host = loaded(start_clap, variant, served.current.port).create()
    x = sine(RATE, RATE)
    host.set("Temperature", 0)
    wet = bounce(host, x, RATE, BLOCK)
    host.ask("deactivate")
    host.ask("offline", 0)
    host.activate(RATE, BLOCK)
    connected(host)
    host.start(x, (BLOCK,), "sleep", frames=1 << 26)
    time.sleep(0.5)
    kill_in_turn(served, host, 1)
    y, report = host.finish("stop")
    allowed = max(largest_step(x), largest_step(wet)) + (np.max(np.abs(x)) + np.max(np.abs(wet))) / FADE_FRAMES
    assert largest_step(y) <= allowed
    assert report["sleeps"] == 0 and report["errors"] == 0
    assert host.quit() == 0


def test_whatever_starts_first_they_find_each_other(
    start_clap: Start, variant: Variant, servers: Callable[..., Servers]
) -> None:
    """The host plays before there is a server; the latency that it was told is kept."""
    served = servers("identity16k")
    port = served.current.port
    served.current.stop()
    host = loaded(start_clap, variant, port).create()
    latency = host.activate(RATE, BLOCK)
    host.start(sine(RATE, RATE), (BLOCK,), "sleep", frames=1 << 26)
    time.sleep(0.5)
    assert host.get("Connection") == Connection.NO_SERVER
    served.current = served.start(port)
    assert reconnected(served, host, []) < RECONNECT_SECONDS
    assert host.ask("latency")["latency"] == latency
    (session,) = served.current.status()["sessions"]
    assert session["latency_frames"]["reported"] == latency
    assert host.finish("stop")[1]["sleeps"] == 0
    assert host.quit() == 0
