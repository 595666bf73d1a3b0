"""Where the server is comes from plugin.conf: another transport, another machine, a server that the plugin starts."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from rtserver.client import server_status
from rtserver.errors import UserError
from tests.plugin.driver import Plugin, connection
from tests.plugin.test_audio import delayed
from tests.server.harness import ROOT, eventually, free_port, noise


def test_audio_over_osc_with_a_key(plugin_program, start_server):
    server = start_server("--model", "loopback", key="correct horse")
    config = (
        f"# ours\nport = {server.port}\ntransport = osc\njitter_ms = 40\n\nkey=correct horse\nnonsense\n= 5\nport = x\n"
    )
    with Plugin(plugin_program, config=config) as plugin:
        plugin.set("temperature", 0.25)
        late = plugin.activate(48000, 128, 2)
        assert late == 128 + 240 + 40 * 48, "the jitter buffer is part of it"
        assert connection(plugin) == "connected"
        plugin.set("temperature", 0.75)
        frames = noise(48000)
        stereo = np.stack([frames, frames], axis=1)
        returned, _ = plugin.play(stereo, [128, 64])
        assert np.allclose(returned, delayed(stereo, late), atol=1e-6)
        session = server.status()["sessions"][-1]
        assert session["transport"] == "osc"
        assert session["parameters"]["temperature"] == 0.75


def test_a_host_that_does_not_answer_costs_less_than_half_a_second(plugin_program):
    with Plugin(plugin_program, config="host = 192.0.2.1\nkey = x\n") as plugin:
        began = time.monotonic()
        plugin.activate(48000, 128, 1)
        assert time.monotonic() - began < 0.5
        assert connection(plugin) in ("connecting", "no server")


def test_a_server_is_started_where_that_is_asked_for(plugin_program):
    port = free_port()
    command = f"cd '{ROOT}' && exec '{sys.executable}' -m rtserver --model loopback --port {port}"
    with Plugin(plugin_program, config=f"port = {port}\nstart_server = {command}\n") as plugin:
        plugin.activate(48000, 128, 1)
        eventually(lambda: connection(plugin) == "connected", "the server that the plugin started")
        server = server_status(port)["pid"]
    try:
        assert server_status(port)["state"] == "ready", "it outlives the plugin"
    finally:
        os.kill(server, signal.SIGTERM)


def test_nothing_is_started_by_default(plugin_program):
    port = free_port()
    with Plugin(plugin_program, port) as plugin:
        plugin.activate(48000, 128, 1)
        time.sleep(1.0)
        assert connection(plugin) == "no server"
    try:
        server_status(port, timeout_s=0.5)
    except UserError:
        return
    raise AssertionError("somebody answers")
