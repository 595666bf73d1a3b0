"""A bounce is the same every time, is what `rtserver translate` gives, and fails loudly or not at all."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from rtserver import model_file
from rtserver.pipeline import translate
from tests.plugin.driver import connection
from tests.server.harness import eventually, free_port, noise


@pytest.mark.parametrize("way", ["host", "parameter"])
def test_a_bounce_is_that_of_translate(plugin_of, start_server, tiny_pack, way):
    server = start_server("--model", str(tiny_pack))
    frames = noise(48000, seed=3)
    wet = translate(model_file.load(tiny_pack), frames, 48000, seed=41)
    bounces = []
    for blocks in ([512], [512, 1, 333, 0], [64]):
        plugin = plugin_of(server.port)
        plugin.set("seed", 41)
        if way == "host":
            plugin.ask("offline 1")
        else:
            plugin.set("bounce", 1)
        late = plugin.activate(48000, 512, 1)
        returned, counted = plugin.play(np.concatenate([frames, np.zeros(late, np.float32)]), blocks, pace=0)
        assert counted["failed"] == counted["misses"] == 0
        bounces.append(returned[late:])
    assert np.std(wet) > 1e-3
    for bounce in bounces:
        assert np.array_equal(bounce, wet)


def test_a_bounce_after_live_playing_begins_anew(plugin_of, start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack))
    frames = noise(24000, seed=4)
    wet = translate(model_file.load(tiny_pack), frames, 48000, seed=7)
    plugin = plugin_of(server.port)
    late = plugin.activate(48000, 256, 1)
    plugin.play(noise(12345, seed=5), [256])
    plugin.set("seed", 7)
    plugin.ask("offline 1")
    returned, counted = plugin.play(np.concatenate([frames, np.zeros(late, np.float32)]), [256], pace=0)
    assert counted["failed"] == 0
    assert np.array_equal(returned[late:], wet)


def test_no_server_no_bounce(plugin_of, start_server):
    """Silence and an error; a server that comes in time is waited for."""
    port = free_port()
    plugin = plugin_of(port)
    plugin.set("bounce", 1)
    plugin.send("activate 48000 512 1")
    time.sleep(0.5)
    server = start_server("--model", "loopback", port=port)
    assert plugin.answer()
    frames = noise(24000)
    returned, counted = plugin.play(frames, [512], pace=0)
    assert counted["failed"] == 0 and returned.any()
    server.stop(signal.SIGKILL)
    eventually(lambda: connection(plugin) == "no server", "its worker follows it")
    returned, counted = plugin.play(frames, [512], pace=0)
    assert counted["failed"] == counted["blocks"] and not returned.any()
    assert connection(plugin) == "bounce failed"
    assert "bounce" in plugin.ask("message")


def test_a_server_that_dies_in_the_middle_leaves_silence(plugin_of, start_server):
    server = start_server("--model", "identity16k")
    plugin = plugin_of(server.port)
    plugin.ask("offline 1")
    late = plugin.activate(48000, 256, 1)
    frames = noise(2 * 48000)
    plugin.begin(frames, [256], pace=1.0)
    time.sleep(0.7)
    os.kill(server.status()["worker"]["pid"], signal.SIGKILL)
    returned, counted = plugin.finish()
    assert counted["failed"] > 0
    end = np.flatnonzero(returned)[-1]
    assert end < 1.5 * 48000, "nothing after the break, although the worker came back"
    dry = np.concatenate([np.zeros(late, np.float32), frames])[: len(frames)]
    assert not np.allclose(returned[end - 480 : end], dry[end - 480 : end], atol=1e-3), "never dry audio spliced in"
    # Live again, it plays again.
    plugin.ask("offline 0")
    returned, counted = plugin.play(frames[:24000], [256])
    assert counted["failed"] == 0 and returned[late + 4800 :].any()
