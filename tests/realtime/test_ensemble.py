"""Sessions that are rendered together: in the right order, with the bits they have alone, and none is left hanging.

The program's voices are counterfeit and notice a chunk that is generated twice, late, or by two threads; the decoder of
the last test is real.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from rtserver import _engine, latency
from tests.programs.build import build, has_sanitizer
from tests.programs.variants import session
from tests.realtime.stream_harness import EncoderThread, make_segment

linux = pytest.mark.skipif(sys.platform != "linux", reason="builds a program with the system's compiler")


@pytest.fixture(scope="module", params=["plain", "thread sanitizer"])
def ensemble_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    races = request.param != "plain"
    if races and not has_sanitizer("thread", tmp_path_factory.mktemp("probe")):
        pytest.skip("no thread sanitizer here")
    return build(session("ensemble_program", races))


def run(program: Path, mode: str) -> dict[str, int]:
    result = subprocess.run([program, mode], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-6000:]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", result.stdout)}


@linux
def test_the_most_urgent_go_first_and_take_their_company_along(ensemble_program: Path) -> None:
    found = run(ensemble_program, "order")
    # Twelve of one decoder in batches of eight: 480 chunks in 60; two of another: 40 batches; and one alone.
    assert (found["chunks"], found["batches"], found["largest"], found["mixed"]) == (600, 140, 8, 0)
    assert found["behind"] == 1  # of the twelve nobody waits for two batches
    assert found["first_ended"] <= 2 * 40, "the chunks that are due first come first"
    assert found["company_ended"] <= 2 * 40, "who is not urgent at all comes along with one who is"
    assert found["alone_after"] == 1
    assert found["left"] == 0


@linux
def test_company_changes_no_bit(ensemble_program: Path) -> None:
    found = run(ensemble_program, "bits")
    assert (found["different"], found["empty"], found["same_as_first"]) == (0, 0, 0)
    assert (found["mixed"], found["torn"]) == (0, 0)
    assert found["chunks"] > found["batches"] > 0, "they were generated together"
    assert found["live_chunks"] == 0, "offline clients leave the live ensemble alone"


@linux
def test_nobody_hangs_while_sessions_come_and_go(ensemble_program: Path) -> None:
    found = run(ensemble_program, "turmoil")
    assert (found["closed"], found["heard"], found["players_left"]) == (72, 1, 0)
    assert found["live_chunks"] > 0 and found["bounced_chunks"] > 0
    assert (found["mixed"], found["torn"]) == (0, 0)


@linux
def test_what_a_stall_made_late_is_given_up_and_the_sound_goes_on_without_a_seam(ensemble_program: Path) -> None:
    """A voice that takes 0.7 of real time; the encoder stands still for 80 ms, with 5 ms of margin."""
    found = run(ensemble_program, "late")
    assert found["misses"] > 0 and found["level_percent"] >= 49
    # What was not generated could no longer be heard. The last two hops may be under way.
    assert found["chunks"] < 10 * (found["hops"] - 2), "all of it was rendered"
    # The tone's steepest step and a fade of 1 ms to silence: a gap, or a seam, would be steeper.
    assert found["step_permille"] <= 1000 * (0.5 * 0.05 / 3 + 0.5 / 48) + 3


@linux
def test_a_render_thread_with_too_much_to_do_pauses_before_the_kernel_ends_the_process(ensemble_program: Path) -> None:
    """RLIMIT_RTTIME, which rtkit demands, is death to a real-time thread that runs for 200 ms without a pause."""
    spinning = subprocess.run([ensemble_program, "spinning"], capture_output=True, text=True, timeout=60, check=False)
    if spinning.returncode == 0 and "granted=0" in spinning.stdout:
        pytest.skip("no real-time priority here")
    assert spinning.returncode in (-signal.SIGKILL, -signal.SIGXCPU), "the limit is in force"
    found = run(ensemble_program, "tireless")
    assert found["granted"] == 1
    assert found["busy_ms"] > 400 and found["played"] > 0


def random_decoder(
    seed: int, blocks: int = 2, layers: int = 6, channels: int = 32, latents: int = 8
) -> _engine.Decoder:
    from rtserver.model_check import decoder_shapes
    from rtserver.model_config import DecoderConfig

    config = DecoderConfig(blocks=blocks, layers=layers, residual_channels=channels, skip_channels=channels)
    rng = np.random.default_rng(seed)
    weights = {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
        for name, shape in decoder_shapes(config, latents).items()
    }
    fields = {name: getattr(config, name) for name in config.__dataclass_fields__}
    return _engine.Decoder({**fields, "latent_channels": latents, "hop_samples": 160}, weights)


def test_sessions_are_spread_over_the_render_threads() -> None:
    """Six on three threads are two each; those that come after a departure fill the gap."""
    parts = latency.compute(16000, 160, 160, 0, "live")
    decoder = random_decoder(3)
    _engine.plan_threads(decoder_cores=[-1, -1, -1])
    worker = _engine.Worker(realtime=False)
    _engine.plan_threads()
    try:

        def open_session(session: int, render_thread: int = -1) -> None:
            segment = make_segment(parts, 16000, 1, 160)
            worker.open_session(session, segment, "model", voices=[decoder], render_thread=render_thread)

        def load() -> list[int]:
            return [ensemble["sessions"] for ensemble in worker.ensembles() if not ensemble["bounces"]]

        for session in range(1, 7):
            open_session(session)
        assert load() == [2, 2, 2]
        worker.close_session(2)
        assert load() == [2, 1, 2]
        open_session(7)
        assert load() == [2, 2, 2]
        open_session(8)
        assert load() == [3, 2, 2]
        open_session(9, render_thread=0)
        assert load() == [4, 2, 2], "where it was told to"
        with pytest.raises(ValueError, match="render_thread: expected 0 to 2, found 3"):
            open_session(10, render_thread=3)
        assert all(ensemble["core"] is None for ensemble in worker.ensembles())
    finally:
        worker.stop()


def test_sessions_of_two_real_decoders_sound_as_if_alone() -> None:
    """Ten clients at once against ten renderers, each on its own; two decoders, so that batches must be sorted out."""
    decoders = [random_decoder(1), random_decoder(2)]
    clients, hops = 10, 30
    rate, block = 16000, 160
    parts = latency.compute(rate, block, 160, 0, "live")
    frames = np.random.default_rng(5).uniform(-0.5, 0.5, (clients, hops * block)).astype(np.float32)

    def encode(hop: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(hop[:8] * 4.0)

    def alone(client: int) -> np.ndarray:
        intake = _engine.Intake(rate, 1, 160)
        renderer = _engine.Renderer(rate, 160, decoders[client % 2], seed=client)
        intake.push(frames[client])
        pieces = []
        while (hop := intake.pop_hop()) is not None:
            pieces.append(renderer.push(encode(hop)))
        return np.concatenate(pieces)

    worker = _engine.Worker(realtime=False)
    encoder = EncoderThread(worker, encode)
    bridges = []
    for client in range(clients):
        segment = make_segment(parts, rate, 1, block)
        worker.open_session(client + 1, segment, "model", voices=[decoders[client % 2]], seed=client)
        bridge = _engine.Bridge(rate, block, 1, parts.reported, parts.fade)
        bridge.offline = True
        bridge.offline_deadline_ms = 60000
        bridge.set("seed", client)
        bridge.attach(_engine.Segment.open(segment.name))
        segment.unlink()
        bridges.append(bridge)
    heard: list[np.ndarray] = [np.zeros(0)] * clients

    def play(client: int) -> None:
        bridge = bridges[client]
        assert bridge.wait_ready(20000)
        blocks = frames[client].reshape(hops, block)
        heard[client] = np.concatenate([bridge.process(one) for one in blocks])

    try:
        threads = [threading.Thread(target=play, args=(client,)) for client in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bounces = [ensemble for ensemble in worker.ensembles() if ensemble["bounces"]]
    finally:
        encoder.stop()
        worker.stop()
    for client in range(clients):
        late = parts.reported
        assert np.array_equal(heard[client][late:], alone(client)[: hops * block - late]), client
    assert sum(e["chunks"] for e in bounces) > 1.2 * sum(e["batches"] for e in bounces), "they were generated together"
