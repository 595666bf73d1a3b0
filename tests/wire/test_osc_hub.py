"""The server's end of remote audio: against a client that speaks by hand, and against whom it must not obey."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from rtserver import _engine
from rtserver.latency import compute
from tests.wire.remote_rig import (
    BLOCK,
    KEY,
    RATE,
    SESSION,
    Audio,
    noise,
    rig,
    served_by_hand,
    wait_for,
)


def test_a_hole_beyond_the_window_is_skipped() -> None:
    """The server starts anew inside of the client's epoch, rather than making up for seconds of silence."""
    with served_by_hand() as (r, client):
        client.ready(1)
        tone = noise(BLOCK)[:, 0]
        client.send("audio", 1, 0, tone)
        reply = client.hear("audio.reply")
        assert (reply["frame"], reply["concealed"]) == (0, 0)
        jump = 10 * RATE
        client.send("audio", 1, jump, tone)  # tells the server of the hole
        client.ready(1)
        assert wait_for(lambda: r.server_segment.get("epoch_ready") == 2)
        client.ready(1)
        client.send("audio", 1, jump + BLOCK, tone)
        reply = client.hear("audio.reply")
        assert (reply["frame"], reply["concealed"]) == (jump + BLOCK, jump)
        np.testing.assert_array_equal(reply["audio"], tone)


def test_a_packet_lost_on_the_way_up_is_concealed() -> None:
    with served_by_hand() as (r, client):
        client.ready(1)
        ones = np.ones(BLOCK, np.float32)
        for index in (0, 2, 3, 4, 5, 6):  # waits for half of 20 ms: 480 frames, 4 packets
            client.send("audio", 1, index * BLOCK, ones)
        heard: list[Audio] = []
        while sum(map(len, heard)) < 4 * BLOCK:
            reply = client.hear("audio.reply")
            assert reply["frame"] == sum(map(len, heard))
            heard.append(reply["audio"])  # type: ignore[arg-type]
        assert reply["concealed"] == BLOCK
        sound = np.concatenate(heard)
        np.testing.assert_array_equal(sound[:BLOCK], 1)
        np.testing.assert_array_equal(sound[BLOCK + 48 : 2 * BLOCK], 0)
        np.testing.assert_array_equal(sound[2 * BLOCK + 48 :], 1)
        assert np.max(np.abs(np.diff(sound))) < 0.05  # 1 ms of fade
        assert r.server_segment.get("frames_concealed") == BLOCK
        assert r.server_segment.get("packets_lost") == 1
        client.send("audio", 1, BLOCK, ones)
        assert wait_for(lambda: r.server_segment.get("packets_late") == 1)


def test_the_first_packet_lost_moves_nothing() -> None:
    with served_by_hand() as (_, client):
        client.ready(1)
        ones = np.ones(BLOCK, np.float32)
        for index in range(1, 8):
            client.send("audio", 1, index * BLOCK, ones)
        reply = client.hear("audio.reply")
        assert reply["frame"] == 0
        np.testing.assert_array_equal(reply["audio"][:BLOCK], 0)  # type: ignore[index]


def test_messages_of_an_epoch_that_is_over_are_not_obeyed() -> None:
    with served_by_hand() as (_, client):
        tone = noise(BLOCK)[:, 0]
        client.ready(1)
        client.ready(2)
        client.send("epoch", 1)
        client.send("audio", 1, 0, tone)
        client.send("audio", 2, 0, -tone)
        reply = client.hear("audio.reply")
        assert reply["epoch"] == 2
        np.testing.assert_array_equal(reply["audio"], -tone)


def test_hostile_datagrams_are_dropped_and_counted() -> None:
    with rig(key=KEY) as r, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as enemy:
        audio = noise(RATE // 4)
        out = r.play(audio)
        assert wait_for(lambda: r.hub.stats()["packets_received"] >= len(r.network.sent_up))
        address = ("127.0.0.1", r.hub.port)
        tone = np.ones(10, np.float32)
        now_us = time.time_ns() // 1000
        recorded = r.network.sent_up[-1]
        for datagram in (
            b"",
            b"hello",
            bytes(2000),
            _engine.encode_audio("audio", SESSION, 1, 0, tone),
            _engine.encode_audio("audio", SESSION, 1, 0, tone, key=b"other", nonce=now_us),
            _engine.encode_audio("audio", SESSION, 1, 0, tone, key=KEY, nonce=now_us - 61_000_000),
            _engine.encode_audio("audio.reply", SESSION, 1, 0, tone, key=KEY, nonce=now_us),
            _engine.encode_audio("audio", SESSION + 1, 1, 0, tone, key=KEY, nonce=now_us),
            recorded,
        ):
            enemy.sendto(datagram, address)
        expected = {
            "malformed": 3,
            "unsealed": 1,
            "forged": 1,
            "stale": 1,
            "misplaced": 1,
            "unknown_session": 1,
            "replayed": 1,
        }
        assert wait_for(lambda: r.hub.stats()["refused"] == expected), r.hub.stats()
        more = r.play(audio)
        np.testing.assert_array_equal(
            np.concatenate([out, more])[r.parts.reported :], np.concatenate([audio, audio])[: -r.parts.reported]
        )


def test_the_server_never_answers_who_has_no_key() -> None:
    """The address that audio goes to is the one that an authentic packet last came from."""
    with rig(key=KEY) as r, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as enemy:
        enemy.settimeout(0.2)
        r.play(noise(BLOCK * 4))
        for _ in range(20):
            enemy.sendto(_engine.encode_audio("epoch", SESSION, 1), ("127.0.0.1", r.hub.port))
            enemy.sendto(r.network.sent_up[0], ("127.0.0.1", r.hub.port))
        r.play(noise(BLOCK * 4))
        with pytest.raises(TimeoutError):
            enemy.recv(2048)


def test_the_wrong_key_never_gets_ready() -> None:
    with rig(key=b"wrong", hub_key=KEY) as r:
        assert not r.bridge.wait_ready(200)
        assert r.hub.stats()["refused"]["forged"] > 0


def test_a_removed_session_is_gone_and_may_come_back() -> None:
    with rig(key=KEY) as r:
        audio = noise(RATE // 4)
        r.play(audio)
        recorded = list(r.network.sent_up)
        assert wait_for(lambda: r.hub.stats()["packets_received"] >= len(recorded))
        assert r.hub.remove(SESSION)
        assert not r.hub.remove(SESSION)
        assert r.server_segment.get("closed_by_client") == 1
        with pytest.raises(RuntimeError):
            r.bridge.offline_deadline_ms = 300
            r.play(audio)
        # What was said in the session's earlier life is not obeyed in the next.
        segment = _engine.Segment.create(
            None, session=SESSION, sample_rate_hz=RATE, max_block_frames=BLOCK, channels=1, latency=r.parts.to_dict()
        )
        r.link.stop()
        before = r.hub.stats()["refused"]["replayed"]
        r.hub.add(SESSION, segment, r.parts.jitter)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as enemy:
            for datagram in recorded:
                enemy.sendto(datagram, ("127.0.0.1", r.hub.port))
        assert wait_for(lambda: r.hub.stats()["refused"]["replayed"] == before + len(recorded))
        assert segment.get("epoch_requested") == 0


def test_bad_arguments_are_refused() -> None:
    segment = _engine.Segment.create(
        None,
        sample_rate_hz=RATE,
        max_block_frames=BLOCK,
        channels=1,
        latency=compute(RATE, BLOCK, 160, 0, "live", probe="loopback").to_dict(),
    )
    hub = _engine.RemoteHub("127.0.0.1", 0, None)
    with pytest.raises(ValueError, match="session"):
        hub.add(0, segment, 0)
    hub.add(1, segment, 0)
    with pytest.raises(ValueError, match="open already"):
        hub.add(1, segment, 0)
    with pytest.raises(RuntimeError, match=f"port {hub.port}"):
        _engine.RemoteHub("127.0.0.1", hub.port, None)
    with pytest.raises(RuntimeError, match="not known"):
        _engine.RemoteLink(segment, "no.such.host.invalid", 1, 1, None, 0)
    with pytest.raises(ValueError, match="key"):
        _engine.RemoteHub("127.0.0.1", 0, b"")
    hub.stop()
