"""A model with networks, untrained, through the whole server: the same bits by every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtserver.client import Bridge
from tests.server.harness import ServerProcess, eventually, noise, through

RATE_HZ = 48000
FRAMES = 24000


@pytest.fixture(scope="module")
def tiny_server(tmp_path_factory: pytest.TempPathFactory, tiny_pack: Path) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("tiny") / "server.log"
    running = ServerProcess(log, "--model", str(tiny_pack)).wait_ready()
    yield running
    running.stop()


def translated(server: ServerProcess, blocks: list[int], **options) -> np.ndarray:
    frames = np.concatenate([noise(FRAMES), np.zeros(4096, np.float32)])
    with Bridge(server.port, RATE_HZ, 512, offline=True, **options) as bridge:
        returned = through(bridge, frames, blocks)
        return returned[bridge.latency_frames :][:FRAMES]


def test_the_block_size_does_not_change_a_bit(tiny_server):
    one, two = translated(tiny_server, [512], seed=5), translated(tiny_server, [1, 129, 64], seed=5)
    assert np.abs(one).max() > 0.01
    assert np.array_equal(one, two)


def test_seed_and_decoder_change_the_sound(tiny_server):
    plain = translated(tiny_server, [512], seed=5)
    assert not np.array_equal(plain, translated(tiny_server, [512], seed=6))
    assert not np.array_equal(plain, translated(tiny_server, [512], seed=5, decoder="strings"))
    assert np.array_equal(plain, translated(tiny_server, [512], seed=5, decoder="piano"))


def test_a_file_gets_the_same_bits_as_a_client(tiny_server, tiny_pack):
    from rtserver import model_file, pipeline

    wet = pipeline.translate(model_file.load(tiny_pack), noise(FRAMES)[:, None], RATE_HZ, "piano", seed=5)
    streamed = translated(tiny_server, [512], seed=5)
    assert np.array_equal(wet, streamed)


def test_two_clients_of_one_model_are_independent(tiny_server):
    alone = translated(tiny_server, [128], seed=5)
    frames = np.concatenate([noise(FRAMES), np.zeros(4096, np.float32)])
    with (
        Bridge(tiny_server.port, RATE_HZ, 128, offline=True, seed=5) as first,
        Bridge(tiny_server.port, RATE_HZ, 128, offline=True, seed=9, decoder="strings") as second,
    ):
        returned = []
        for at in range(0, len(frames), 128):
            returned.append(first.process(frames[at : at + 128]))
            second.process(-frames[at : at + 128])
    assert np.array_equal(np.concatenate(returned)[first.latency_frames :][:FRAMES], alone)


def test_the_decoder_can_be_chosen_while_playing(tiny_server):
    with Bridge(tiny_server.port, RATE_HZ, 128, offline=True) as bridge:
        bridge.set("decoder", "strings")
        assert bridge.get("decoder") == 1

        def shown():
            return tiny_server.status()["sessions"][0]["parameters"]["decoder"] == "strings"

        eventually(shown, "the status shows the decoder")
        bridge.process(noise(128))
        session = tiny_server.status()["sessions"][0]
        assert session["latency_ms"] <= 25


def test_status_tells_of_load(tiny_server):
    with Bridge(tiny_server.port, RATE_HZ, 512, offline=True) as bridge:
        through(bridge, noise(FRAMES), [512])

        def loaded():
            session = tiny_server.status()["sessions"][0]
            return session["load"] and session["hops"] >= 40 and session

        session = eventually(loaded, "hops are counted")
        assert 0 < session["load"] < 10


def test_packs_with_the_same_encoder_are_served_together(start_server, tiny_pack, tmp_path):
    other = tmp_path / "other.pt"
    other.write_bytes(tiny_pack.read_bytes())
    server = start_server("--model", str(tiny_pack), "--model", str(other))
    assert [m["name"] for m in server.status()["models"]] == ["tiny", "other", "loopback", "identity16k"]
    assert np.array_equal(
        translated(server, [512], seed=5, model="tiny"), translated(server, [512], seed=5, model="other")
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_bad_numbers_do_not_stay(tiny_server, bad):
    with Bridge(tiny_server.port, RATE_HZ, 128, offline=True) as bridge:
        bridge.process(np.full(128, bad, np.float32))
        returned = through(bridge, noise(9600), [128])
        assert np.isfinite(returned[bridge.latency_frames :]).all()
        assert np.abs(returned[4800:]).max() > 0.01
        assert bridge.process(np.zeros(0, np.float32)).shape == (0,)
        with pytest.raises(ValueError, match="frames"):
            bridge.process(np.zeros((128, 8), np.float32))
