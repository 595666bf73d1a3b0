"""What sessions take in service, as a real worker reports it, counts if it is more than what was measured at rest."""

from __future__ import annotations

import threading

import pytest

from rtserver.client import Bridge, ServerRefused
from tests.server.harness import eventually, noise, through

TOO_CHEAP = ("tests.server.costly_server", "0.001", "0.001", "0.0001")  # nothing takes as little


def test_a_model_that_seemed_cheap_counts_as_what_it_takes(start_server, tiny_pack):
    server = start_server("--model", str(tiny_pack), module=TOO_CHEAP)
    ended = threading.Event()
    with Bridge(server.port, 48000, 256) as bridge:
        block = noise(256)

        def play() -> None:
            while not ended.wait(256 / 48000):
                through(bridge, block, [256])

        playing = threading.Thread(target=play)
        playing.start()
        try:
            capacity = eventually(
                lambda: (found := server.status()["capacity"])["in_service"]["tiny"]["decoder"] > 2 and found, "seen"
            )
            (session,) = eventually(lambda: server.status()["sessions"], "a session")
        finally:
            ended.set()
            playing.join()
    takes = session["decoder_us_per_hop"] / 10000
    assert capacity["decoder_cores"][0]["load"] == pytest.approx(takes, rel=0.5)
    (model,) = (each for each in server.status()["models"] if each["name"] == "tiny")
    assert model["cost"] == {"decoder": 0.001, "decoder_more": 0.001, "encoder": 0.0001}, "at rest, as it was measured"


def test_of_many_at_once_those_are_refused_that_might_not_fit(start_server, tiny_pack):
    """Company is worth most of the price, but nobody has seen it yet."""
    server = start_server("--model", str(tiny_pack), module=("tests.server.costly_server", "0.2", "0.01", "0.01"))
    bridges = [Bridge(server.port, 48000, 256) for _ in range(3)]
    with pytest.raises(ServerRefused, match="3 sessions play, 3 just begun: wait a moment"):
        Bridge(server.port, 48000, 256)
    for _ in range(400):
        for bridge in bridges:
            through(bridge, noise(256), [256])
        threading.Event().wait(256 / 48000)
    more = eventually(lambda: _another(server.port), "one more", 5)
    for bridge in [*bridges, more]:
        bridge.close()


def _another(port: int) -> Bridge | None:
    try:
        return Bridge(port, 48000, 256)
    except ServerRefused:
        return None
