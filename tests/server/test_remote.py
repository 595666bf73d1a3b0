"""Audio over OSC through a real server: the same translation, with and without a key, and clients that vanish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rtserver.client import Bridge
from tests.server.harness import ROOT, eventually, noise, through

FRAMES = 12000


def late(bridge: Bridge, returned: np.ndarray) -> np.ndarray:
    return returned[bridge.latency_frames :]


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_loopback_over_osc_is_exact(server, rate_hz):
    frames = noise(FRAMES)
    with Bridge(server.port, rate_hz, 128, transport="osc", offline=True) as bridge:
        assert bridge.latency.jitter > 0
        returned = through(bridge, frames, [128, 77, 1])
        session = next(s for s in server.status()["sessions"] if s["session"] == bridge.session)
        assert session["transport"] == "osc"
    assert np.array_equal(late(bridge, returned), frames[: -bridge.latency_frames])


def test_shm_and_osc_clients_hear_the_same_translation_at_once(start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack))
    frames = noise(FRAMES)
    with (
        Bridge(server.port, offline=True, seed=3) as near,
        Bridge(server.port, offline=True, seed=3, transport="osc") as far,
    ):
        returned_near, returned_far = [], []
        for at in range(0, FRAMES - 128, 128):
            returned_near.append(near.process(frames[at : at + 128]))
            returned_far.append(far.process(frames[at : at + 128]))
    one, two = late(near, np.concatenate(returned_near)), late(far, np.concatenate(returned_far))
    assert np.abs(two).max() > 0.01
    assert np.array_equal(one[: len(two)], two)


def test_beyond_loopback_everything_is_sealed(start_server):
    server = start_server("--model", "loopback", "--host", "0.0.0.0", key="a long secret")
    frames = noise(FRAMES)
    with Bridge(server.port, transport="osc", offline=True, key="a long secret") as bridge:
        returned = through(bridge, frames, [128])
        assert np.array_equal(late(bridge, returned), frames[: -bridge.latency_frames])
        import socket

        audio_port = server.status()["worker"]["audio_port"]
        from rtserver import _engine

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for key in (None, b"another"):
                stranger.sendto(
                    _engine.encode_audio("epoch", bridge.session, 9, key=key, nonce=time.time_ns() // 1000),
                    ("127.0.0.1", audio_port),
                )

        def counted():
            refused = server.status()["worker"]["audio"]["refused"]
            return refused.get("unsealed", 0) >= 1 and refused.get("forged", 0) >= 1

        eventually(counted, "unsealed and forged audio is counted")


def test_parameters_find_their_side(server):
    from rtserver import osc
    from rtserver.connection import ControlConnection

    with (
        Bridge(server.port, transport="osc", offline=True) as bridge,
        ControlConnection(port=server.port) as surface,
    ):
        surface.send(osc.SetParameter(bridge.session, "mix", 0.25))
        eventually(lambda: bridge.get("mix") == 0.25, "the server forwards what the client applies")
        bridge.set("gate_db", -30.0)

        def shown():
            session = next(s for s in server.status()["sessions"] if s["session"] == bridge.session)
            return session["parameters"]["gate_db"] == -30.0

        eventually(shown, "the client sends what the server applies")


def test_a_remote_client_comes_back_after_the_worker_died(start_server):
    server = start_server("--model", "loopback")
    with Bridge(server.port, transport="osc") as bridge:
        os.kill(server.status()["worker"]["pid"], signal.SIGKILL)

        def back():
            bridge.process(np.full(128, 0.25, np.float32))
            time.sleep(0.002)
            return bridge.stats()["reconnects"] > 0

        eventually(back, "the client comes back")
        assert [s["generation"] for s in server.status()["sessions"]] == [2]


def test_a_vanished_remote_client_is_forgotten(server):
    script = (
        "import sys, time\n"
        "from rtserver.client import Bridge\n"
        f"bridge = Bridge({server.port}, transport='osc')\n"
        "print('here', flush=True)\n"
        "time.sleep(60)\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert client.stdout.readline().strip() == b"here"
        assert server.status()["sessions"]
        time.sleep(1.0)
        assert server.status()["sessions"]  # silent audio, but signs of life
    finally:
        client.kill()
        client.wait()
    eventually(lambda: not server.status()["sessions"], "the session ends")
