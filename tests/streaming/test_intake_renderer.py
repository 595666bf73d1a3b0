"""Intake and renderer: hops don't depend on the host's blocks, the latency sum is kept, bad samples do no harm."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models import mu_law
from rtserver import _engine, latency

Floats = npt.NDArray[np.float32]
HOP = 160


def hops_of(intake: _engine.Intake) -> Floats:
    hops = []
    while (hop := intake.pop_hop()) is not None:
        hops.append(hop)
    return np.array(hops, np.float32)


def encode(x: Floats, rate: int, sizes: list[int], encoding: str = "mu_law_rounded", **settings: float) -> Floats:
    intake = _engine.Intake(rate, 1 if x.ndim == 1 else x.shape[1], HOP, encoding)
    for name, value in settings.items():
        setattr(intake, name, value)
    at, turn = 0, 0
    while at < len(x):
        intake.push(x[at : at + sizes[turn % len(sizes)]])
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    intake.finish()
    return hops_of(intake)


def noise(frames: int, channels: int = 1, seed: int = 0) -> Floats:
    x = np.random.default_rng(seed).uniform(-0.7, 0.7, (frames, channels)).astype(np.float32)
    return x if channels > 1 else x[:, 0]


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 44101, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_hops_are_the_same_for_any_partition(rate: int, channels: int) -> None:
    x = noise(rate // 4, channels) * np.linspace(0, 1, rate // 4, dtype=np.float32).reshape(-1, *[1] * (channels > 1))
    settings = {"input_gain_db": -6.0, "gate_db": -20.0}
    whole = encode(x, rate, [len(x)], **settings)
    assert len(whole) > 0
    for sizes in ([1], [64], [441], [7, 1024, 1, 300]):
        np.testing.assert_array_equal(encode(x, rate, sizes, **settings), whole)


@pytest.mark.parametrize("kind", ["rounded", "published"])
def test_codes_are_those_of_the_reference(kind: mu_law.MuLawKind) -> None:
    """At 16 kHz the intake only compands: compare with the PyTorch definition, and its table decodes to itself."""
    table = mu_law.decode_table(kind)
    if kind == "rounded":  # the published table's values lie on the edges of its codes
        np.testing.assert_array_equal(
            encode(table.repeat(HOP), 16000, [512], f"mu_law_{kind}")[:, 0],
            mu_law.network_input(torch.arange(256)).numpy(),
        )
    x = np.linspace(-1.2, 1.2, 100 * HOP, dtype=np.float32)
    got = encode(x, 16000, [999], f"mu_law_{kind}").ravel()[: len(x)]
    wanted = mu_law.network_input(mu_law.encode(torch.from_numpy(x), kind)).numpy()
    different = np.flatnonzero(got != wanted)
    assert len(different) <= 8, "only inputs on the edge between two codes may differ: the logarithm is rounded there"
    assert np.abs(got - wanted).max() < 1.01 / 255


def test_stereo_is_the_mean_and_eight_channels_too() -> None:
    x = noise(4800, 8)
    mean = (x.astype(np.float64).mean(axis=1)).astype(np.float32)
    np.testing.assert_allclose(encode(x, 48000, [128], "linear"), encode(mean, 48000, [128], "linear"), atol=1e-6)


def test_nan_and_inf_count_as_silence() -> None:
    bad, clean = noise(4800), noise(4800)
    for at, value in ((100, np.nan), (101, np.inf), (2000, -np.inf)):
        bad[at], clean[at] = value, 0.0
    for encoding in ("linear", "mu_law_rounded"):
        hops = encode(bad, 48000, [128], encoding)
        assert np.isfinite(hops).all()
        np.testing.assert_array_equal(hops, encode(clean, 48000, [128], encoding))


def test_loud_input_is_clipped_by_the_code_only() -> None:
    loud = np.full(4800, 3.0, np.float32)
    assert encode(loud, 48000, [128])[5].max() == np.float32(0.5)
    np.testing.assert_allclose(encode(loud, 48000, [128], "linear")[5], 3.0, atol=1e-4)
    assert np.isfinite(encode(np.full(4800, 3e38, np.float32), 48000, [128], "linear")).all()


def test_gain_and_gate() -> None:
    x = noise(16000) * 0.01
    plain = encode(x, 16000, [128], "linear")
    np.testing.assert_allclose(encode(x, 16000, [128], "linear", input_gain_db=6.0), plain * 10 ** (6 / 20), rtol=1e-5)
    assert not encode(x, 16000, [128], "linear", gate_db=-20.0).any(), "all below the gate"
    opened = encode(x, 16000, [128], "linear", gate_db=-60.0)
    np.testing.assert_array_equal(opened[2:], plain[2:])


@pytest.mark.parametrize("sizes", [[1], [64], [1000]])
def test_a_new_gain_holds_from_the_next_hop_and_glides_over_it(sizes: list[int]) -> None:
    intake, x = _engine.Intake(16000, 1, HOP, "linear"), np.full(2000, 0.5, np.float32)
    for start in (0, 1000):  # the change falls into the seventh hop: frames 960 to 1119
        for at in range(start, start + 1000, sizes[0]):
            intake.push(x[at : min(at + sizes[0], start + 1000)])
        intake.input_gain_db = -20.0
    y = hops_of(intake).ravel()
    np.testing.assert_array_equal(y[:1120], 0.5)
    assert np.all(np.diff(y[1119:1280]) < 0)
    np.testing.assert_allclose(np.diff(y[1119:1280]), -0.45 / 160, rtol=1e-3)
    np.testing.assert_array_equal(y[1280:], np.float32(0.5) * np.float32(0.1))


@pytest.mark.parametrize("frames", [0, 1, 159, 480, 4801])
def test_finish_gives_the_hops_of_a_stream_that_goes_on_in_silence(frames: int) -> None:
    for rate in (8000, 44100, 48000):
        x = noise(frames)
        finished = encode(x, rate, [128], "linear")
        endless = encode(np.concatenate([x, np.zeros(rate, np.float32)]), rate, [128], "linear")
        np.testing.assert_array_equal(finished, endless[: len(finished)] if frames else finished[:0])
        renderer = _engine.Renderer(rate, HOP, None)
        assert sum(len(renderer.push(hop)) for hop in finished) >= frames, "no flush is needed"


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 16001, 22050, 44100, 44101, 48000, 88200, 96000, 192000, 384000])
@pytest.mark.parametrize("block", [1, 64, 441])
def test_the_latency_sum_is_kept_at_every_frame(rate: int, block: int) -> None:
    """After n frames have been handed in, output up to n - (resampling + hop) can be rendered: docs/latency.md."""
    parts = latency.compute(rate, block, HOP, 0)
    intake, renderer = _engine.Intake(rate, 1, HOP, "linear"), _engine.Renderer(rate, HOP, None)
    given, rendered, slack = 0, 0, math.inf
    while given < rate // 16 + 2 * block:
        intake.push(np.zeros(block, np.float32))
        given += block
        while (hop := intake.pop_hop()) is not None:
            rendered += len(renderer.push(hop))
        promised = given - parts.resampling - parts.hop
        assert rendered >= promised
        slack = min(slack, rendered - promised)
    if block == 1:
        assert slack <= max(2, 2 * math.ceil(rate / 16000)), "the sum isn't padded either"


def test_renderer_refuses_a_latent_of_another_size() -> None:
    with pytest.raises(ValueError, match="expected 160 values, found 16"):
        _engine.Renderer(48000, HOP, None).push(np.zeros(16, np.float32))
