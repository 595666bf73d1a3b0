"""How often a plugin asks: no more often because a host repeats itself, nor without a pause where nobody listens."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from rtserver.client import Bridge
from tests.plugin.driver import connection
from tests.plugin.test_busy_server import COSTLY
from tests.server.harness import eventually, free_port


def test_a_host_that_repeats_its_values_does_not_make_the_plugin_ask_more_often(plugin_of, start_server, tiny_pack):
    """LV2 hands in every value with every block."""
    server = start_server("--model", str(tiny_pack), module=COSTLY)
    first = Bridge(server.port, 48000, 128)
    plugin = plugin_of(server.port)
    plugin.activate(48000, 128, 1)
    eventually(lambda: connection(plugin) == "refused", "refused")
    before = server.status()["capacity"]["refused"]
    ends = time.monotonic() + 5.0
    while time.monotonic() < ends:
        plugin.set("instrument", 0)
        plugin.set("margin", 0)
        time.sleep(0.005)
    asked = server.status()["capacity"]["refused"]
    assert asked - before in (1, 2, 3), "every 2 s"
    plugin.set("margin", 1)
    eventually(lambda: server.status()["capacity"]["refused"] > asked, "news is asked about at once", 1.0)
    first.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_choice_is_asked_about_once_where_no_server_listens(plugin_of):
    """A session that is opened without a server chooses its instruments; so would a host that sets another margin."""
    saved = plugin_of(free_port())
    saved.set("margin", 2)
    plugin = plugin_of(free_port())
    plugin.load(saved.save())
    plugin.activate(48000, 128, 1)
    plugin.set("margin", 1)
    eventually(lambda: connection(plugin) == "no server", "it notices")
    before = seconds_of_processor(plugin._process.pid)
    time.sleep(2.0)
    assert seconds_of_processor(plugin._process.pid) - before < 0.1
    assert connection(plugin) == "no server"


def seconds_of_processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
