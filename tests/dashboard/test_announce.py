"""`--announce`: found by its name on this machine, gone when it ends; not there unless asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.server.harness import ServerProcess, eventually

zeroconf = pytest.importorskip("zeroconf")
ServiceStateChange = zeroconf.ServiceStateChange
KINDS = ("_osc._udp.local.", "_oscjson._tcp.local.")


def test_an_announced_server_is_found_until_it_ends(start: Callable[..., ServerProcess]) -> None:
    removed: set[str] = set()
    found: dict[tuple[str, int], Any] = {}

    def listen(zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        if state_change is ServiceStateChange.Removed:
            removed.add(name)
            return
        info = zeroconf.get_service_info(service_type, name, timeout=2000)
        if info is not None:
            found[service_type, info.port] = info

    with zeroconf.Zeroconf(interfaces=["127.0.0.1"]) as network:
        zeroconf.ServiceBrowser(network, list(KINDS), handlers=[listen])
        server = start("--model", "loopback", "--announce")
        eventually(lambda: all((kind, server.port) in found for kind in KINDS), "both services are announced")
        assert found[KINDS[0], server.port].parsed_addresses() == ["127.0.0.1"]
        assert server.stop() == 0
        eventually(lambda: found[KINDS[0], server.port].name in removed, "it says goodbye")
