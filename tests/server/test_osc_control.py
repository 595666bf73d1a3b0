"""The control port under bad, hostile and plentiful datagrams."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest

from rtserver import osc
from rtserver.client import Bridge, NoServer, ServerRefused
from rtserver.connection import ControlConnection
from tests.server.harness import eventually, noise, through


def dropped(server) -> dict[str, int]:
    return server.status()["osc"]["dropped"]


@pytest.mark.parametrize(
    ("datagram", "counted"),
    [
        (b"garbage!", "malformed"),
        (b"/rt/status\0\0,s\0\0", "malformed"),
        (b"#bundle\0" + b"\0" * 8 + struct.pack(">i", 1 << 30), "malformed"),
        (b"/rt/nowhere\0,\0\0\0", "unknown_address"),
        (b"/rt/connect\0,i\0\0\0\0\0\1", "wrong_type"),
        (b"/" + b"a" * 60000, "oversized"),
    ],
)
def test_bad_datagrams_are_counted(server, datagram, counted):
    before = dropped(server).get(counted, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(datagram, ("127.0.0.1", server.port))
        sender.sendto(b"", ("127.0.0.1", server.port))
        eventually(lambda: dropped(server).get(counted, 0) > before, f"{counted} is counted")
    assert server.status()["state"] == "ready"


def test_a_flood_is_dropped_and_others_are_heard(server):
    message = osc.encode(osc.SetParameter(999, "mix", 0.5))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood, Bridge(server.port, offline=True) as bridge:
        for _ in range(5):
            for _ in range(1000):
                flood.sendto(message, ("127.0.0.1", server.port))
            bridge.process(np.zeros(128, np.float32))
            assert server.status()["state"] == "ready"  # a sender of its own has its own allowance
        assert dropped(server)["too_many"] > 0
        assert bridge.stats()["misses"] == 0


def test_a_keyed_server_hears_only_who_has_the_key(start_server):
    server = start_server("--model", "loopback", key="a secret")
    for key, answer in ((None, ServerRefused), (b"another", NoServer)):
        with pytest.raises(answer, match="the same --key"), ControlConnection(port=server.port, key=key) as stranger:
            stranger.request(osc.StatusRequest(), osc.StatusReply, timeout_s=0.6)
    counted = dropped(server)
    assert counted["unsealed"] > 0 and counted["forged"] > 0
    frames = noise(9600)
    with Bridge(server.port, key="a secret", offline=True) as bridge:
        returned = through(bridge, frames, [128])
    assert np.array_equal(returned[bridge.latency_frames :], frames[: -bridge.latency_frames])


def test_a_recorded_message_can_not_be_sent_again(start_server):
    server = start_server("--model", "loopback", key="a secret")
    recorded = osc.encode(osc.StatusRequest(), osc.Sealer(b"a secret"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(2):
            sender.sendto(recorded, ("127.0.0.1", server.port))
        eventually(lambda: dropped(server).get("replayed", 0) == 1, "the second is refused")
