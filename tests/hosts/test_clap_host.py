"""The CLAP host itself finds what it is there to find: planted faults, and a plugin that lies about its latency."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.clap_host import ClapHost, HostError
from tests.hosts.signals import burst, delay_of, sine

RATE = 48000
DELAY = 512
FAULTS = ("none", "new", "lock", "futex", "write", "open", "send", "sleep", "busy", "work")
CALLS = {"x86_64": {"futex": 202, "write": 1, "open": 257, "send": 44, "sleep": 230}}.get(platform.machine(), {})

Start = Callable[..., ClapHost]


@pytest.fixture
def faulty(start_clap: Start, clap_program: Path) -> ClapHost:
    return start_clap(clap_program.with_name("faulty.clap")).create("rtserver.test.honest")


def test_an_id_that_is_not_there_gives_no_instance(faulty: ClapHost) -> None:
    assert not faulty.ask("create", "no.such.plugin")["created"]
    with pytest.raises(HostError, match="no plugin"):
        faulty.ask("activate", RATE, 1, 128)


@pytest.mark.parametrize("fault", FAULTS[:-2])
def test_each_planted_fault_is_counted_once(faulty: ClapHost, fault: str) -> None:
    faulty.activate(RATE, 128)
    faulty.event(12800, "Fault", FAULTS.index(fault))
    _, report = faulty.play(sine(4800, RATE), (128, 0, 7), "free", "traced", frames=48000, keep=False)
    if not report["traced"]:
        pytest.skip("the kernel has no seccomp filters")
    expected = {"allocations": 0, "frees": 0, "locks": 0, "signals": 0, "system_calls": {}}
    if fault == "new":
        expected |= {"allocations": 1, "frees": 1}
    elif fault == "lock":
        expected |= {"locks": 1}
    elif fault != "none":
        assert list(report["calls"]["system_calls"].values()) == [1]
        expected["system_calls"] = {str(CALLS[fault]): 1} if CALLS else report["calls"]["system_calls"]
    assert report["calls"] == expected


def test_a_callback_that_sleeps_or_works_long_is_found(faulty: ClapHost) -> None:
    faulty.activate(RATE, 128)
    x = sine(RATE // 2, RATE)
    _, clean = faulty.play(x, (128,), "sleep")
    faulty.event(6400, "Fault", FAULTS.index("sleep"))
    _, asleep = faulty.play(x, (128,), "sleep")
    faulty.event(6400, "Fault", FAULTS.index("busy"))
    _, busy = faulty.play(x, (128,), "sleep")
    assert (clean["sleeps"], asleep["sleeps"]) == (0, 1)
    assert clean["cpu_share_max"] < 1 < busy["cpu_share_max"], "three milliseconds of a block of 2.7"
    assert busy["cpu_us_max"] > 2900
    assert 6400 in [at for at, _ in busy["long"]]


def test_a_callback_that_does_more_than_others_is_found_whatever_the_machine_does(faulty: ClapHost) -> None:
    faulty.activate(RATE, 16)
    x = sine(RATE // 2, RATE)
    _, clean = faulty.play(x, (16,), "free", "counted", frames=320)
    if not clean["counted"]:
        pytest.skip("instructions can't be counted here")
    faulty.event(160, "Fault", FAULTS.index("work"))
    _, working = faulty.play(x, (16,), "free", "counted", frames=320)
    assert clean["instructions_max"] < 2 * clean["instructions_p50"]
    assert working["instructions_max"] > 5000 + clean["instructions_max"] and working["worst"]["at"] == 160


@pytest.mark.parametrize(("plugin", "lie"), [("honest", 0), ("liar", 100)])
def test_the_delay_is_found_whatever_is_reported(faulty: ClapHost, plugin: str, lie: int) -> None:
    faulty.create(f"rtserver.test.{plugin}")
    reported = faulty.activate(RATE, 128)
    x = burst(RATE, RATE)
    y, report = faulty.play(x, (128, 1, 0, 64))
    measured, alike = delay_of(y, x)
    assert report["frames"] == len(x)
    assert alike == pytest.approx(1)
    assert measured - reported == lie
    assert (y[DELAY:] == x[:-DELAY]).all()
