"""A server that has no room for another session: the plugin says why, plays dry, bounces all the same, and gets in."""

from __future__ import annotations

import time

import numpy as np
import pytest

from rtserver.client import Bridge, ServerRefused
from tests.plugin.driver import connection
from tests.server.harness import eventually, noise

COSTLY = ("tests.server.costly_server", "0.4", "0.4", "0.01")  # of a decoder core each, which has 0.7 to give
WHY = "tiny needs 0.40 of a decoder core, 0.30 is free; 1 session plays"


def test_refused_with_the_reason_until_another_leaves(plugin_of, start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack), module=COSTLY)
    first = Bridge(server.port, 48000, 128)
    with pytest.raises(ServerRefused, match=WHY) as refused:
        Bridge(server.port, 48000, 128)
    assert refused.value.code == "busy"

    plugin = plugin_of(server.port)
    late = plugin.activate(48000, 128, 1)
    assert connection(plugin) == "refused"
    assert plugin.ask("message").startswith(WHY)
    assert plugin.ask("text connection 6").startswith(f"Refused: {WHY}"), "hosts show it"
    tone = noise(9600)
    dry, _ = plugin.play(tone, [128])
    assert np.array_equal(dry[late:], tone[:-late])
    capacity = server.status()["capacity"]
    assert capacity["decoder_cores"][0] == {"sessions": 1, "load": 0.4, "free": 0.3}
    assert len(server.status()["sessions"]) == 1 and capacity["refused"] >= 2

    # A bounce waits its turn, it is not refused; once live again, the plugin is.
    plugin.ask("offline 1")
    bounced, counted = plugin.play(tone, [128], pace=0)
    assert counted["failed"] == 0 and not np.array_equal(bounced[late:], tone[:-late])
    assert connection(plugin) == "connected"
    plugin.ask("offline 0")
    plugin.play(noise(24000), [128])
    eventually(lambda: connection(plugin) == "refused", "the place is still taken")
    assert plugin.ask("message").startswith(WHY)

    first.close()
    began = time.monotonic()
    eventually(lambda: connection(plugin) == "connected", "the place is free")
    assert time.monotonic() - began < 5
    (session,) = server.status()["sessions"]
    assert session["reserved"] and session["latency_frames"]["reported"] == late
