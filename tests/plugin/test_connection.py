"""The control thread finds its server and comes back to it, whoever starts first and whoever dies."""

from __future__ import annotations

import os
import re
import signal
import time

import numpy as np
import pytest

from tests.plugin.driver import Refused, connection
from tests.plugin.test_state import sealed
from tests.server.harness import ServerProcess, eventually, free_port, noise


def session(server: ServerProcess) -> dict:
    return eventually(lambda: server.status()["sessions"], "a session")[-1]


def until_connected(plugin, seconds: float) -> float:
    began = time.monotonic()
    eventually(lambda: connection(plugin) == "connected", plugin.ask("message"), seconds)
    return time.monotonic() - began


def test_the_plugin_may_start_first(plugin_of, start_server):
    port = free_port()
    plugin = plugin_of(port)
    plugin.set("temperature", 0.5)
    plugin.set("seed", 99)
    plugin.activate(48000, 128, 2)
    eventually(lambda: connection(plugin) == "no server", "it notices")
    assert f"127.0.0.1:{port}" in plugin.ask("message")
    server = start_server("--model", "loopback", port=port)
    until_connected(plugin, 2.0)
    found = session(server)
    assert found["model"] == "loopback" and found["channels"] == 2
    assert found["parameters"]["temperature"] == pytest.approx(0.5)
    assert found["parameters"]["seed"] == 99


@pytest.mark.parametrize("victim", ["worker", "server"])
def test_a_kill_is_not_heard_and_the_session_comes_back(plugin_of, start_server, victim):
    server = start_server("--model", "loopback")
    plugin = plugin_of(server.port)
    plugin.set("gate_db", -40)
    late = plugin.activate(48000, 128, 1)
    plugin.set("instrument", 1)
    tone = 0.5 * np.sin(2 * np.pi * 220 / 48000 * np.arange(3 * 48000))
    plugin.begin(tone, [128])
    time.sleep(0.7)
    pid = server.status()["worker"]["pid"] if victim == "worker" else server.pid
    os.kill(pid, signal.SIGKILL)
    if victim == "server":
        server.process.wait()
        server = start_server("--model", "loopback", port=server.port)
    returned, counted = plugin.finish()
    steady = returned[late + 480 :]
    assert np.allclose(steady, tone[480 : len(tone) - late], atol=1e-6), "aligned dry in place of the translation"
    assert np.max(np.abs(np.diff(steady))) <= np.max(np.abs(np.diff(tone))) + 1e-6
    assert counted["misses"] > 0, "it did go away"
    assert counted["locks"] + counted["allocations"] + counted["waits"] == 0
    eventually(lambda: server.status()["worker"]["state"] == "running", "a worker")
    until_connected(plugin, 2.0)
    assert session(server)["parameters"]["gate_db"] == pytest.approx(-40)


def test_instances_of_one_process_keep_their_own_sessions(plugin_of, start_server, plugin_program):
    """Numbers given anew after a restart are not mistaken for those of before."""
    from rtserver.client import Bridge

    server = start_server("--model", "loopback")
    bridges = [Bridge(server.port, 48000, 128, model="loopback") for _ in range(4)]
    port = server.port
    server.stop(signal.SIGKILL)
    server = start_server("--model", "loopback", port=port)
    eventually(lambda: all(bridge.native.server_alive for bridge in bridges), "all back")
    time.sleep(1.0)
    before = [bridge.reconnects for bridge in bridges]
    time.sleep(2.0)
    assert [bridge.reconnects for bridge in bridges] == before, "nobody takes another's session"
    assert len({bridge.session for bridge in bridges}) == 4
    for bridge in bridges:
        bridge.close()


def test_a_missing_model_is_named_and_the_audio_passes(plugin_of, start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack))
    first = plugin_of(server.port)
    late = first.activate(48000, 128, 1)
    assert first.ask("text instrument 0").startswith("0 tiny: ")
    state = first.save()
    server.stop()
    other = start_server("--model", "loopback")
    second = plugin_of(other.port)
    second.load(state)
    assert second.activate(48000, 128, 1) == late, "as the session had it"
    assert connection(second) == "instrument missing"
    assert "tiny" in second.ask("message") and "SHA-256" in second.ask("message")
    assert second.ask("text connection 4").startswith("Instrument missing: tiny"), "hosts show it"
    frames = noise(9600)
    returned, _ = second.play(frames, [128], pace=0)
    assert np.array_equal(returned[late:], frames[:-late])
    # Its number stays; what the other server has comes after it.
    second.set("instrument", next(i for i in range(8) if second.ask(f"text instrument {i}").endswith("loopback")))
    until_connected(second, 5.0)


def test_a_namesake_is_not_the_same_instrument(plugin_of, start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack))
    first = plugin_of(server.port)
    first.activate()
    body, _, _ = first.save().rpartition("end ")
    hashed = re.findall(r"\b[0-9a-f]{64}\b", body)[0]
    second = plugin_of(server.port)
    second.load(sealed(body.replace(hashed, "0" * 64)))
    second.activate()
    assert connection(second) == "instrument missing"
    assert "another file of that name" in second.ask("message")
    renamed = plugin_of(server.port)
    renamed.load(sealed(body.replace(" tiny ", " earlier.name ")))
    renamed.activate()
    assert connection(renamed) == "connected", "the content is what counts"
    assert renamed.ask("text instrument 0").startswith("0 tiny: ")


def test_decoders_change_while_it_plays(plugin_of, start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack))
    plugin = plugin_of(server.port)
    plugin.set("instrument", 1)
    plugin.activate(48000, 256, 1)
    names = [plugin.ask(f"text instrument {i}") for i in range(3)]
    assert names[1] == "1 tiny: piano" and names[2] == "2 tiny: strings"
    assert session(server)["parameters"]["decoder"] == "piano"
    plugin.begin(noise(48000), [256])
    plugin.finish()
    plugin.set("instrument", 2)
    plugin.play(noise(9600), [256])
    assert session(server)["parameters"]["decoder"] == "strings"
    assert session(server)["generation"] == 1, "without a new connection"


def test_the_load_is_that_of_the_whole_server(plugin_of, start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack))
    one, two = plugin_of(server.port), plugin_of(server.port)
    for plugin in (one, two):
        plugin.activate(48000, 256, 1)
    one.begin(noise(4 * 48000), [256])
    two.play(noise(4 * 48000), [256])
    one.finish()
    loads = [session["load"] for session in server.status()["sessions"]]
    assert len(loads) == 2 and min(loads) > 0
    for plugin in (one, two):
        eventually(lambda plugin=plugin: plugin.get("load") == pytest.approx(100 * sum(loads), rel=0.1), "the load")


def test_an_unknown_instrument_number_says_how_many_there_are(plugin_of, server):
    plugin = plugin_of(server.port)
    plugin.set("instrument", 77)
    plugin.activate()
    assert connection(plugin) == "instrument missing"
    assert "there are 3" in plugin.ask("message")


def test_a_key_is_needed_where_the_server_has_one(plugin_program, start_server, monkeypatch):
    from tests.plugin.driver import Plugin

    server = start_server("--model", "loopback", key="correct horse")
    monkeypatch.setenv("RTSERVER_KEY", "correct horse")
    with Plugin(plugin_program, server.port) as plugin:
        plugin.activate()
        assert connection(plugin) == "connected"
    monkeypatch.setenv("RTSERVER_KEY", "wrong horse")
    with Plugin(plugin_program, server.port) as plugin:
        plugin.activate()
        assert connection(plugin) != "connected"


def test_refused_is_an_exception_here(plugin_of):
    with pytest.raises(Refused):
        plugin_of(free_port()).ask("nonsense")
