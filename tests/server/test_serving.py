"""A real server and real clients over shared memory: exactness, several clients, and every kind of death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from rtserver.client import Bridge, NoServer
from rtserver.errors import UserError
from tests.server.harness import ROOT, eventually, noise, shared_memory, through

BLOCKS = [128, 1, 77, 128, 64, 3]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
def test_loopback_returns_its_input_after_exactly_the_reported_latency(server, rate_hz, channels):
    frames = noise(rate_hz // 4, channels)
    with Bridge(server.port, rate_hz, 128, channels, offline=True) as bridge:
        returned = through(bridge, frames, BLOCKS)
        assert bridge.stats()["misses"] == 0
    late = bridge.latency_frames
    assert np.array_equal(returned[late:], frames[: len(frames) - late])
    assert not returned[:late].any()


def test_identity_is_late_by_the_reported_latency(server):
    rate_hz = 48000
    smooth = np.convolve(noise(rate_hz, seed=1), np.hanning(64) / 32, mode="same").astype(np.float32)
    with Bridge(server.port, rate_hz, 128, model="identity16k", offline=True) as bridge:
        returned = through(bridge, smooth, BLOCKS)
    spectrum = np.fft.rfft(returned, 2 * rate_hz) * np.conj(np.fft.rfft(smooth, 2 * rate_hz))
    delay = int(np.argmax(np.fft.irfft(spectrum)))
    assert abs(delay - bridge.latency_frames) <= 1
    assert bridge.latency_frames == sum(
        getattr(bridge.latency, part) for part in ("block", "resampling", "lookahead", "hop", "margin", "jitter")
    )
    assert bridge.latency_frames <= 0.025 * rate_hz


def test_the_block_size_does_not_change_a_bit(server):
    frames = noise(24000, seed=2)
    results = []
    for blocks in ([512], [64, 511, 3]):
        with Bridge(server.port, 48000, 512, model="identity16k", offline=True) as bridge:
            results.append(through(bridge, frames, blocks))
    assert np.array_equal(*results)


def test_two_clients_do_not_hear_each_other(server):
    one, two = noise(24000, seed=3), noise(24000, 2, seed=4)
    with (
        Bridge(server.port, 48000, 128, 1, offline=True) as first,
        Bridge(server.port, 48000, 128, 2, offline=True) as second,
    ):
        assert first.session != second.session
        returned_one, returned_two = [], []
        for at in range(0, 24000, 128):
            returned_one.append(first.process(one[at : at + 128]))
            returned_two.append(second.process(two[at : at + 128]))
        sessions = {s["session"] for s in server.status()["sessions"]}
        assert {first.session, second.session} <= sessions
    for bridge, sent, returned in ((first, one, returned_one), (second, two, returned_two)):
        late = bridge.latency_frames
        assert np.array_equal(np.concatenate(returned)[late:], sent[: 24000 - late])
    eventually(lambda: not server.status()["sessions"], "both sessions end")


def test_parameters_reach_the_stream_and_the_status(server):
    from rtserver import osc
    from rtserver.connection import ControlConnection

    with Bridge(server.port, offline=True) as bridge, ControlConnection(port=server.port) as surface:
        bridge.set("mix", 0.25)
        surface.send(osc.SetParameter(bridge.session, "gate_db", -40.0))
        surface.send(osc.SetParameter(bridge.session, "fallback", "silence"))

        def seen():
            shown = next(s for s in server.status()["sessions"] if s["session"] == bridge.session)["parameters"]
            return (shown["mix"], shown["gate_db"], shown["fallback"]) == (0.25, -40.0, "silence")

        eventually(seen, "the parameters show")
        for name, value in (("mix", 1.5), ("nonsense", 1), ("decoder", "piano")):
            with pytest.raises(ValueError):
                bridge.set(name, value)


def test_a_session_has_the_latency_that_is_asked_for_or_none(server):
    with Bridge(server.port) as bridge:
        least = bridge.latency_frames
    with Bridge(server.port, latency_frames=least + 100, offline=True) as bridge:
        assert bridge.latency_frames == least + 100
        frames = noise(9600)
        returned = through(bridge, frames, [128])
        assert np.array_equal(returned[least + 100 :], frames[: -least - 100])
    with pytest.raises(UserError, match="not possible"):
        Bridge(server.port, latency_frames=least - 1)


def test_what_can_not_be_served_is_refused_in_one_line(server):
    for wrong in ({"sample_rate_hz": 7999}, {"model": "no-such-model"}, {"decoder": "kazoo"}, {"block_frames": 100000}):
        with pytest.raises((UserError, ValueError)) as caught:
            Bridge(server.port, **wrong)
        assert "\n" not in str(caught.value)
    assert not server.status()["sessions"]


def test_a_killed_client_is_forgotten_and_leaves_no_memory(server):
    script = (
        "import sys, time, numpy as np\n"
        "from rtserver.client import Bridge\n"
        f"bridge = Bridge({server.port})\n"
        "print('playing', flush=True)\n"
        "while True:\n"
        "    bridge.process(np.zeros(128, np.float32)); time.sleep(0.0026)\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert client.stdout.readline().strip() == b"playing"
        assert any(s["client_pid"] == client.pid for s in server.status()["sessions"])
    finally:
        client.kill()
        client.wait()
    eventually(lambda: not server.status()["sessions"], "the dead client's session ends")
    assert not shared_memory(server.pid)
    with Bridge(server.port, offline=True) as bridge:  # and the server is as good as before
        bridge.process(np.zeros(128, np.float32))


def test_a_killed_worker_is_started_anew_and_the_client_comes_back(start_server):
    server = start_server("--model", "loopback")
    with Bridge(server.port) as bridge:
        bridge.set("mix", 0.5)

        def play():
            returned = bridge.process(np.full(128, 0.25, np.float32))
            assert np.isfinite(returned).all() and np.abs(returned).max() <= 0.25 + 1e-6
            time.sleep(0.002)
            return returned

        eventually(lambda: abs(play()[-1] - 0.25) < 1e-6, "sound")
        for death in (1, 2):
            before = server.status()
            os.kill(before["worker"]["pid"], signal.SIGKILL)
            eventually(lambda: (play(), bridge.stats()["reconnects"])[1] == death, "the client comes back")  # noqa: B023
            after = server.status()
            assert after["worker"]["restarts"] == death
            assert after["worker"]["pid"] != before["worker"]["pid"]
            (session,) = after["sessions"]
            assert (session["session"], session["generation"]) == (bridge.session, 1 + death)
            assert session["parameters"]["mix"] == 0.5
            assert bridge.stats()["misses_by_cause"]["server"] > 0
            misses = bridge.stats()["misses"]

            def wet_again():
                nonlocal misses
                for _ in range(20):
                    play()
                missed, misses = bridge.stats()["misses"] - misses, bridge.stats()["misses"]
                return not missed

            eventually(wet_again, "the translation is heard again")
    eventually(lambda: not shared_memory(server.pid), "memory freed")
    assert "Traceback" not in server.log.read_text()


def test_a_worker_that_hangs_is_replaced(start_server):
    server = start_server("--model", "loopback")
    hung = server.status()["worker"]["pid"]
    os.kill(hung, signal.SIGSTOP)
    eventually(lambda: server.status()["worker"]["restarts"] == 1, "the hung worker is given up")
    eventually(lambda: server.status()["worker"]["state"] == "running", "another one runs")
    assert not os.path.exists(f"/proc/{hung}")


def test_a_client_finds_the_server_that_took_the_place_of_another(start_server):
    first = start_server("--model", "loopback")
    with Bridge(first.port, seed=4) as bridge:
        bridge.set("mix", 0.5)
        first.stop(signal.SIGKILL)
        second = start_server("--model", "loopback", port=first.port)
        block = np.zeros(128, np.float32)
        eventually(lambda: (bridge.process(block), bridge.stats()["reconnects"])[1], "the client comes back")
        (session,) = second.status()["sessions"]
        assert session["latency_frames"]["reported"] == bridge.latency_frames
        assert (session["parameters"]["mix"], session["parameters"]["seed"]) == (0.5, 4)


def test_an_offline_client_fails_loudly_when_the_worker_dies(start_server):
    server = start_server("--model", "loopback")
    sound = np.full(128, 0.1, np.float32)  # a stream begins with its first sound
    with Bridge(server.port, offline=True, offline_deadline_s=5) as bridge:
        bridge.process(sound)
        os.kill(server.status()["worker"]["pid"], signal.SIGKILL)
        with pytest.raises(UserError, match="broke off"):
            for _ in range(2000):
                bridge.process(sound)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_leaves_nothing(start_server, number):
    server = start_server("--model", "loopback")
    worker = server.status()["worker"]["pid"]
    bridge = Bridge(server.port)
    bridge.process(np.ones(128, np.float32))
    assert server.stop(number) == 0
    assert not shared_memory(server.pid)
    assert not os.path.exists(f"/proc/{worker}")
    assert np.isfinite(bridge.process(np.ones(128, np.float32))).all()  # dry
    bridge.close()
    assert "Traceback" not in server.log.read_text()


def test_a_killed_server_takes_its_worker_along(start_server):
    server = start_server("--model", "loopback")
    worker = server.status()["worker"]["pid"]
    with Bridge(server.port) as bridge:
        bridge.process(np.ones(128, np.float32))
        server.stop(signal.SIGKILL)
        eventually(lambda: not os.path.exists(f"/proc/{worker}"), "the worker ends")
        assert not shared_memory(server.pid)


def test_without_a_server_the_client_says_how_to_start_one():
    from tests.server.harness import free_port

    with pytest.raises(NoServer, match="start one with `rtserver"):
        Bridge(free_port())


def test_http_gives_the_status_and_the_namespace(server):
    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return json.load(answer)

    with Bridge(server.port) as bridge:
        status = get("/status")
        assert status["pid"] == server.pid and status["sessions"][0]["latency_frames"]["reported"] > 0
        assert get(f"/rt/{bridge.session}/mix")["VALUE"] == [1.0]
        assert "rt" in get("/")["CONTENTS"]
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/status", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 403
