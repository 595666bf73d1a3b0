"""Offline and mixing: the bounce is the same bytes for any block size, fails loudly, and mixes as documented."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from models.decoder import Decoder
from rtserver import _engine
from rtserver.model_config import DecoderConfig
from tests.realtime.stream_harness import Floats, streaming

RATE, LATENT = 48000, 4


def make_voice(seed: int) -> _engine.Decoder:
    torch.manual_seed(seed)
    config = DecoderConfig(blocks=2, layers=3, residual_channels=8, skip_channels=8)
    weights = {name: t.detach().numpy() * 2 for name, t in Decoder(config, LATENT, 160).state_dict().items()}
    fields = {"blocks": 2, "layers": 3, "residual_channels": 8, "skip_channels": 8, "kernel_size": 2, "classes": 256}
    return _engine.Decoder({**fields, "latent_channels": LATENT, "hop_samples": 160, "mu_law": "rounded"}, weights)


def encode(hop: Floats) -> Floats:
    return np.ascontiguousarray(hop[:: 160 // LATENT])


def noise(frames: int, channels: int = 1) -> Floats:
    x = np.random.default_rng(7).uniform(-0.5, 0.5, (frames, channels)).astype(np.float32)
    return x if channels > 1 else x[:, 0]


def bounce(x: Floats, sizes: list[int], seed: int = 5, voices: tuple[int, ...] = (1,), decoder: int = 0) -> Floats:
    made = [make_voice(v) for v in voices]
    with streaming("model", RATE, max(sizes), encode=encode, voices=made, seed=seed) as s:
        s.bridge.set("decoder", decoder)
        s.bridge.reset()
        y = s.play(np.concatenate([x, np.zeros(s.parts.reported, np.float32)]), sizes)
        return y[s.parts.reported :]


def synchronous(x: Floats, seed: int = 5, voice: int = 1, rate: int = RATE) -> Floats:
    intake, renderer = _engine.Intake(rate, 1, 160), _engine.Renderer(rate, 160, make_voice(voice), seed)
    intake.push(x)
    intake.finish()
    parts = []
    while (hop := intake.pop_hop()) is not None:
        parts.append(renderer.push(encode(hop)))
    return np.concatenate(parts)[: len(x)]


def test_a_bounce_is_byte_identical_for_any_block_size_and_without_threads() -> None:
    x = noise(RATE // 4)
    reference = synchronous(x)
    assert reference.std() > 0.01
    for sizes in ([64], [128], [441], [1024], [17, 300, 1]):
        assert bounce(x, sizes).tobytes() == reference.tobytes()


def test_the_seed_and_the_decoder_matter() -> None:
    x = noise(RATE // 8)
    assert bounce(x, [128], seed=6).tobytes() == synchronous(x, seed=6).tobytes() != synchronous(x).tobytes()
    assert bounce(x, [128], voices=(1, 2), decoder=1).tobytes() == synchronous(x, voice=2).tobytes()
    assert bounce(x, [128], voices=(1, 2), decoder=99).tobytes() == synchronous(x, voice=2).tobytes(), "clamped"


def test_reset_plays_the_same_again() -> None:
    x = noise(RATE // 8)
    with streaming("model", RATE, 128, encode=encode, voices=[make_voice(1)], seed=3) as s:
        first = s.play(x, [128])
        s.bridge.reset()
        again = s.play(x, [100])
        s.bridge.set("seed", 4)
        s.bridge.reset()
        other = s.play(x, [128])
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_a_change_of_decoder_is_heard_from_a_hop_on() -> None:
    x = noise(RATE // 4)
    with streaming("model", RATE, 128, encode=encode, voices=[make_voice(1), make_voice(2)], seed=5) as s:
        y1 = s.play(x[: RATE // 8], [128])
        s.bridge.set("decoder", 1)
        y2 = s.play(x[RATE // 8 :], [128])
        y = np.concatenate([y1, y2])[s.parts.reported :]
    reference = synchronous(x)[: len(y)]
    different = np.flatnonzero(y != reference)
    assert len(different) > 0
    assert different[0] > RATE // 8 - 1500 - 128, "what was played before stays"
    assert np.isfinite(y).all()


def test_a_change_of_decoder_is_a_cross_fade_over_a_hop() -> None:
    """At the network's rate, where no resampler hides a step: the decoder before plays on for a hop, weighed against
    the new one, which begins with it."""
    rate, hop = 16000, 160
    x = noise(rate // 4)
    with streaming("model", rate, hop, encode=encode, voices=[make_voice(1), make_voice(2)], seed=5) as s:
        y1 = s.play(x[: rate // 8], [hop])
        s.bridge.set("decoder", 1)
        y = np.concatenate([y1, s.play(x[rate // 8 :], [hop])])[s.parts.reported :]
    before = synchronous(x, rate=rate)[: len(y)]
    change = int(np.flatnonzero(y != before)[0]) // hop * hop
    new = synchronous(x[change:], voice=2, rate=rate)[: len(y) - change]
    weight = (np.arange(hop, dtype=np.float32) + np.float32(0.5)) / np.float32(hop)
    old = before[change : change + hop]
    assert np.allclose(y[change : change + hop], old + weight * (new[:hop] - old), rtol=0, atol=1e-6)
    assert np.array_equal(y[change + hop :], new[hop:])


def test_two_sessions_do_not_mix() -> None:
    x = noise(RATE // 8)
    with streaming("identity16k", RATE, 128) as a, streaming("identity16k", RATE, 128) as b:
        ya = [
            a.bridge.process(x[i : i + 128])
            for i in range(0, len(x), 128)
            if b.bridge.process(-x[i : i + 128]) is not None
        ]
    with streaming("identity16k", RATE, 128) as alone:
        assert np.concatenate(ya).tobytes() == alone.play(x, [128]).tobytes()


def test_a_bounce_without_its_server_fails_loudly() -> None:
    with streaming("identity16k") as s:
        s.play(noise(4800), [128])
        s.worker.close_session(1)
        with pytest.raises(RuntimeError, match="server is gone"):
            s.play(noise(4800), [128])
    with streaming("identity16k") as s:
        s.bridge.offline_deadline_ms = 100
        s.encoder.pause()
        began = time.monotonic()
        with pytest.raises(RuntimeError, match="did not answer in time"):
            s.play(noise(4800), [128])
        assert time.monotonic() - began < 5
    lonely = _engine.Bridge(48000, 128, 1, 1105, 48)
    lonely.offline = True
    assert not lonely.wait_ready(10)
    with pytest.raises(RuntimeError):
        lonely.process(np.zeros(128, np.float32))


def test_a_server_that_is_changed_in_the_middle_breaks_the_bounce() -> None:
    with streaming("identity16k") as s:
        s.play(noise(4800), [128])
        s.worker.close_session(1)
        s.reopen("identity16k")
        with pytest.raises(RuntimeError, match="was changed"):
            s.play(noise(4800), [128])
        s.bridge.reset()
        assert s.play(noise(4800), [128]).std() > 0.1


def test_panic_in_a_bounce_is_silence_until_the_network_has_begun_anew() -> None:
    with streaming("identity16k") as s:
        s.play(noise(4800), [128])
        s.bridge.set("panic", 1)
        y = s.play(noise(9600), [128])
        assert not y[2 * s.parts.fade : s.parts.reported].any()
        assert y[-480:].std() > 0.1


def test_a_second_audio_thread_is_refused() -> None:
    with streaming("identity16k") as s:
        s.encoder.pause()
        s.bridge.offline_deadline_ms = 500
        x = noise(4800)

        def wait() -> None:
            with pytest.raises(RuntimeError, match="did not answer"):
                s.play(x, [128])

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.1)
        with pytest.raises(RuntimeError, match="one audio thread"):
            s.bridge.process(x[:128])
        waiting.join()


def settled(name: str, value: float, x: Floats, channels: int = 2) -> tuple[Floats, Floats]:
    """Output with a parameter set from the start, and the input delayed as the output is."""
    with streaming("identity16k", RATE, 128, channels) as s:
        s.bridge.set(name, value)
        y = s.play(x, [128])
        return y, np.concatenate([np.zeros((s.parts.reported, channels), np.float32), x])[: len(x)]


def test_mix_bypass_and_gain() -> None:
    x = noise(9600, 2)
    wet, _ = settled("mix", 1.0, x)
    np.testing.assert_array_equal(wet[:, 0], wet[:, 1])
    for name, value in (("mix", 0.0), ("bypass", 1)):
        y, dry = settled(name, value, x)
        np.testing.assert_array_equal(y, dry)  # the stereo image, bit for bit
    half, dry = settled("mix", 0.5, x)
    np.testing.assert_allclose(half, 0.5 * wet + 0.5 * dry, atol=1e-6)
    quiet, _ = settled("output_gain_db", -20.0, x)
    np.testing.assert_allclose(quiet, 0.1 * wet, atol=1e-6)
    louder, _ = settled("input_gain_db", 6.0, x)
    assert 1.9 < louder[4800:].std() / wet[4800:].std() < 2.1


def test_parameters_glide_and_are_clamped() -> None:
    with streaming("loopback") as s:
        x = np.full(9600, 0.5, np.float32)
        s.play(x, [128])
        s.bridge.set("output_gain_db", -60.0)
        assert np.abs(np.diff(s.play(x, [128]))).max() < 0.5 / (4 * s.parts.fade)
        s.bridge.set("mix", 7.0)
        assert s.bridge.get("mix") == 1.0
        with pytest.raises(ValueError, match="nan"):
            s.bridge.set("mix", float("nan"))
        with pytest.raises(KeyError):
            s.bridge.set("volume", 1.0)


def test_input_of_any_kind_does_no_harm() -> None:
    with streaming("identity16k", RATE, 128, 2) as s:
        for bad in (np.nan, np.inf, -np.inf, 1e38, 0.0):
            s.bridge.process(np.full((128, 2), bad, np.float32))
        s.bridge.process(np.zeros((0, 2), np.float32))
        s.bridge.process(np.zeros((1, 2), np.float32))
        s.bridge.process(np.zeros((5000, 2), np.float32))  # more than announced: taken in parts
        y = s.play(np.zeros((48000, 2), np.float32), [128])
        assert np.abs(y[-4800:]).max() == 0.0
        for shape in ((128,), (128, 3), (1, 2, 128)):
            with pytest.raises(ValueError, match="frames: expected"):
                s.bridge.process(np.zeros(shape, np.float32))
