"""`kill -9` of the audio worker and of the control process during playback: the audio thread never notices.

With loopback, translation and dry signal are the same, so whatever happens the output is the input, delayed: no click,
no shift, no gap. With a model, the fade between two different signals is bounded.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.hosts.clap_host import ClapHost
from tests.hosts.playing import Connection, Start, Variant, bounce, connected, loaded
from tests.hosts.signals import Floats, largest_step, sine
from tests.server.harness import ServerProcess, eventually

RATE, BLOCK = 48000, 256
RECONNECT_SECONDS = 2.0
CPU_SHARE = 0.10  # of a block's own duration
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
        before = self.current.status()["worker"]
        os.kill(before["pid"], signal.SIGKILL)

        def replaced() -> bool:
            worker = self.current.status()["worker"]
            return worker["restarts"] > before["restarts"] and worker["state"] == "running"

        eventually(replaced, "another worker")

    def kill_control(self) -> None:
        """And put another server in its place."""
        self.current.stop(signal.SIGKILL)
        self.current = self.start(self.current.port)

    def generations(self) -> list[tuple[int, int]]:
        return [(s["session"], s["generation"]) for s in self.current.status()["sessions"]]


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
        time.sleep(0.3)  # of translation before the next death
    return seconds


def stolen() -> int:
    """What a hypervisor has taken from this machine so far, in ticks; it counts as CPU time of whoever had the core."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8])


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
    shares: list[float] = []
    undisturbed: list[float] = []  # shares of plays that no hypervisor took time from
    misses = host.get("Misses")
    while len(seconds) < kills:
        host.ask("reset")
        stolen_before = stolen()
        host.start(x, (BLOCK,), "sleep", frames=1 << 26)
        time.sleep(0.5)
        seconds += kill_in_turn(served, host, min(ROUNDS_A_PLAY, kills - len(seconds)))
        y, report = host.finish("stop")
        assert report["sleeps"] == 0, "the audio thread has slept"
        assert report["errors"] == 0 and report["frames"] > RATE
        taken = stolen() - stolen_before
        print(f"{100 * report['cpu_share_max']:.1f} % of a block at most: {report['worst']}, {taken} ticks stolen")
        shares.append(report["cpu_share_max"])
        undisturbed += [report["cpu_share_max"]] if not taken else []
        step = largest_step(np.concatenate([x, x[:1]]))
        for at in range(0, report["frames"], 10 * RATE):
            piece = y[at : min(at + 10 * RATE + 1, report["frames"])]
            assert np.allclose(piece, delayed(x, latency, len(piece), at), rtol=0, atol=1e-6), at
            assert largest_step(piece) <= step + 1e-6
    print(
        f"{len(seconds)} deaths: back after {np.median(seconds):.2f} s (median), {max(seconds):.2f} s (most);"
        f" most CPU time of a block {100 * max(shares):.1f} % of it"
    )
    assert np.median(shares) < CPU_SHARE
    assert max(undisturbed, default=0.0) < CPU_SHARE
    assert max(seconds) < RECONNECT_SECONDS
    assert host.get("Misses") > misses, "they were noticed"
    (session,) = served.current.status()["sessions"]
    assert session["parameters"]["seed"] == 77 and session["latency_frames"]["reported"] == latency
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
