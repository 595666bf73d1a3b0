"""The plugin's core under sanitizers, through sessions, bad states and the death of the audio worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.plugin.driver import Plugin, Refused, connection
from tests.programs.build import build, has_sanitizer
from tests.programs.variants import sanitized_plugin_program
from tests.server.harness import eventually


def sanitized(folder: Path, kind: str) -> Path:
    """The program with a sanitizer; skips where the compiler has none."""
    if not has_sanitizer(kind, folder):
        pytest.skip(f"no {kind} sanitizer here")
    return build(sanitized_plugin_program(kind))


@pytest.fixture
def sanitized_program(tmp_path: Path) -> Path:
    return sanitized(tmp_path, "address,undefined")


def live_through(plugin: Plugin, server) -> None:
    frames = np.zeros((48000, 2), np.float32)
    plugin.activate(48000, 128, 2)
    plugin.play(frames[:9600], [128, 1, 0, 500])
    state = plugin.save().encode()
    for length in range(0, len(state), 11):
        with pytest.raises(Refused):
            plugin.load(state[:length])
    plugin.load(state)
    plugin.begin(frames, [128])
    time.sleep(0.3)
    os.kill(server.status()["worker"]["pid"], signal.SIGKILL)
    plugin.finish()
    eventually(lambda: connection(plugin) == "connected", "the worker's successor")
    plugin.set("instrument", 1)
    plugin.play(frames[:9600], [128])
    plugin.ask("offline 1")
    plugin.activate(96000, 7, 1)
    plugin.play(frames[:9600, :1], [64], pace=0)


def test_no_bad_access_and_no_undefined_behaviour(start_server, sanitized_program):
    server = start_server("--model", "identity16k")
    with Plugin(sanitized_program, server.port) as plugin:
        live_through(plugin, server)


@pytest.mark.skipif(not os.environ.get("RTSERVER_VALGRIND"), reason="slow: make sanitize")
def test_no_data_race(start_server, tmp_path):
    server = start_server("--model", "identity16k")
    with Plugin(sanitized(tmp_path, "thread"), server.port) as plugin:
        live_through(plugin, server)


@pytest.mark.skipif(not os.environ.get("RTSERVER_VALGRIND"), reason="slow: make sanitize")
def test_no_data_race_with_whoever_reads_parameters_meanwhile(start_server, tmp_path):
    """Hosts read and set parameters from any thread, also while the plugin is activated and deactivated."""
    server = start_server("--model", "identity16k")
    frames = np.zeros((9600, 2), np.float32)
    with Plugin(sanitized(tmp_path, "thread"), server.port) as plugin:
        plugin.ask("watch 1")
        for turn in range(20):
            plugin.activate(48000, 128, 2)
            _, counted = plugin.play(frames, [128], pace=turn % 2)
            assert counted["blocks"] == 75
            plugin.load(plugin.save())
            plugin.ask("deactivate")
        plugin.ask("watch 0")
