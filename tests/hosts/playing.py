"""What tests of the plugin do again and again: load it into the CLAP host, wait for its server, measure its delay."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import numpy as np

from tests.hosts.bundles import Bundles
from tests.hosts.clap_host import ClapHost, Floats
from tests.hosts.signals import burst, delay_of
from tests.server.harness import ServerProcess, eventually

NOBODY = 9  # a port where no server listens

Start = Callable[..., ClapHost]
Serve = Callable[..., ServerProcess]
Variant = tuple[Bundles, Path]  # the plugin, and the CLAP host's program


class Connection(IntEnum):
    """Values of the read-out of that name."""

    INACTIVE = 0
    NO_SERVER = 1
    CONNECTING = 2
    CONNECTED = 3
    INSTRUMENT_MISSING = 4
    RESTART_NEEDED = 5
    REFUSED = 6
    BOUNCE_FAILED = 7


def loaded(start: Start, variant: Variant, port: int = NOBODY, **options: object) -> ClapHost:
    """A host with the plugin's file, no instance yet."""
    bundles, program = variant
    return start(bundles.clap, port, program=program, **options)


def connected(host: ClapHost) -> ClapHost:
    eventually(lambda: host.get("Connection") == Connection.CONNECTED, "connected")
    return host


def translated_delay(host: ClapHost, rate: int, block: int, sizes: tuple[int, ...] = ()) -> tuple[int, int, float]:
    """Latency as reported, delay as measured, and how alike input and output are then, of a bounce through a probe.

    A bounce has no misses, so what is measured is the translation and never the dry signal in its place.
    """
    host.ask("deactivate")
    host.ask("offline", 1)
    reported = host.activate(rate, block)
    x = burst(rate // 2 + 2 * reported, rate)
    y, report = host.play(x, sizes or (block,))
    assert report["errors"] == 0
    measured, alike = delay_of(y, x)
    return reported, measured, alike


def bounce(host: ClapHost, x: Floats, rate: int, block: int, sizes: tuple[int, ...] = ()) -> Floats:
    """x through the plugin offline, as long as x: the latency taken off, the rest waited for. [frames, channels]."""
    host.ask("deactivate")
    host.ask("offline", 1)
    latency = host.activate(rate, block)
    padded = np.concatenate([x, np.zeros((latency, x.shape[1]), np.float32)])
    y, report = host.play(padded, sizes or (block,))
    assert report["errors"] == 0, host.text("Connection")
    return y[latency:]
