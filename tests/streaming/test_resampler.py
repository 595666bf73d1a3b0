"""The resampler's promises: same bits for any partition, nothing folds, flat passband, the stated delay, even flow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from rtserver import _engine, latency

Floats = npt.NDArray[np.float32]
NETWORK = 16000
RATES = [8000, 11025, 16000, 16001, 22050, 24000, 32000, 44100, 44101, 48000, 88200, 96000, 176400, 192000, 384000]
PAIRS = [(rate, NETWORK) for rate in RATES] + [(NETWORK, rate) for rate in RATES]
# The filter's promise, as fractions of the slower rate.
PASS, STOP = 7 / 16, 8 / 16
STOP_DB = 80.0
RIPPLE_DB = 0.01


def resample(x: Floats, in_rate: int, out_rate: int, sizes: list[int] | None = None) -> Floats:
    resampler = _engine.Resampler(in_rate, out_rate)
    parts, at, turn = [], 0, 0
    while at < len(x):
        size = len(x) if sizes is None else sizes[turn % len(sizes)]
        parts.append(resampler.push(x[at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate([*parts, resampler.flush()])


def sine(hz: float, rate: int, frames: int) -> Floats:
    return np.sin(2 * np.pi * hz * np.arange(frames) / rate).astype(np.float32)


def half_length(in_rate: int, out_rate: int) -> int:
    return _engine.resampler_latency(in_rate)[0] if out_rate == NETWORK else _engine.resampler_latency(out_rate)[1]


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_any_partition_gives_the_same_bits(in_rate: int, out_rate: int) -> None:
    x = np.random.default_rng(in_rate + out_rate).uniform(-1, 1, 6000).astype(np.float32)
    whole = resample(x, in_rate, out_rate)
    assert len(whole) == -(-len(x) * out_rate // in_rate)
    for sizes in ([1], [16], [64], [441], [5, 333, 1, 1024, 17]):
        np.testing.assert_array_equal(resample(x, in_rate, out_rate, sizes).view(np.uint32), whole.view(np.uint32))


@pytest.mark.parametrize("rate", [r for r in RATES if r > 1.1 * NETWORK])
def test_nothing_folds_below_8_khz(rate: int) -> None:
    """Host audio from 8 kHz up leaves at least 80 dB less in the network's audio."""
    top = rate / 2 * 0.99
    for hz in np.linspace(STOP * NETWORK, top, 12):
        folded = resample(sine(hz, rate, rate // 8), rate, NETWORK)[200:-200]
        level = 20 * np.log10(np.max(np.abs(folded)) + 1e-12)
        assert level < -STOP_DB, f"{hz:.0f} Hz at {rate} Hz leaves {level:.1f} dB"


@pytest.mark.parametrize("rate", [r for r in RATES if r > 1.1 * NETWORK])
def test_no_images_above_8_khz(rate: int) -> None:
    """What the network plays below 7 kHz has no mirror images: each component above 8 kHz is 80 dB down."""
    for hz in (100.0, 1234.5, 3999.0, 6900.0):
        y = resample(sine(hz, NETWORK, 4000), NETWORK, rate)
        y = y[len(y) // 8 : -(len(y) // 8)].astype(np.float64)
        y *= np.kaiser(len(y), 16)
        spectrum = np.abs(np.fft.rfft(y))
        frequencies = np.fft.rfftfreq(len(y), 1 / rate)
        above = spectrum[frequencies > 8100]
        assert 20 * np.log10(above.max(initial=0.0) / spectrum.max() + 1e-12) < -STOP_DB


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_passband_is_flat_and_in_phase(in_rate: int, out_rate: int) -> None:
    """Below 7/16 of the slower rate the output is the same sine at the output's times: no gain, no delay."""
    if in_rate == out_rate:
        return
    for fraction in (0.003, 0.1, 0.25, PASS):
        hz = fraction * min(in_rate, out_rate)
        y = resample(sine(hz, in_rate, in_rate // 4), in_rate, out_rate)
        t = np.arange(len(y)) / out_rate
        inner = slice(len(y) // 4, -len(y) // 4)
        basis = np.stack([np.sin(2 * np.pi * hz * t[inner]), np.cos(2 * np.pi * hz * t[inner])], axis=1)
        (in_phase, quadrature), *_ = np.linalg.lstsq(basis, y[inner].astype(np.float64), rcond=None)
        assert abs(20 * np.log10(np.hypot(in_phase, quadrature))) < RIPPLE_DB
        delay_s = -np.arctan2(quadrature, in_phase) / (2 * np.pi * hz)
        assert abs(delay_s * out_rate) < 1e-3, "the delay is zero to a thousandth of a frame"


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_delay_is_exactly_the_stated_one(in_rate: int, out_rate: int) -> None:
    """Output k is there as soon as, and not before, input floor(k * in / out) + half_length has arrived."""
    half = half_length(in_rate, out_rate)
    resampler, ready = _engine.Resampler(in_rate, out_rate), 0
    for pushed in range(1, 700):
        ready += len(resampler.push(np.zeros(1, np.float32)))
        expected = -(-max(pushed - half, 0) * out_rate // in_rate)
        assert ready == expected


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_flow_is_even(in_rate: int, out_rate: int) -> None:
    resampler = _engine.Resampler(in_rate, out_rate)
    counts = [len(resampler.push(np.zeros(16, np.float32))) for _ in range(400)]
    steady = counts[half_length(in_rate, out_rate) // 16 + 2 :]
    assert max(steady) - min(steady) <= 1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("passed_over", [16, 160, 1000])
def test_what_is_passed_over_leaves_no_seam(rate: int, passed_over: int) -> None:
    """After it the same signal goes on, later by exactly as much."""
    hz, before = 700.0, 1000
    x = sine(hz, NETWORK, 2 * before)
    resampler, plain = _engine.Resampler(NETWORK, rate), _engine.Resampler(NETWORK, rate)
    first = resampler.push(x[:before])
    left_out = resampler.pass_over(passed_over)
    second = resampler.push(x[before:])
    half = half_length(NETWORK, rate)
    assert len(first) + left_out == -(-(before + passed_over - half) * rate // NETWORK)
    assert len(first) + left_out + len(second) == -(-(2 * before + passed_over - half) * rate // NETWORK)
    t = (len(first) + left_out + np.arange(len(second))) / rate - passed_over / NETWORK
    np.testing.assert_allclose(second, np.sin(2 * np.pi * hz * t), atol=2e-3)
    if passed_over * rate % NETWORK == 0:
        np.testing.assert_array_equal(np.concatenate([first, second]), plain.push(x))


@pytest.mark.parametrize("rate", RATES)
def test_half_lengths_are_those_of_the_latency_contract(rate: int) -> None:
    assert _engine.resampler_latency(rate) == latency.resampler_half_lengths(rate)


def test_constant_stays_constant_in_every_phase() -> None:
    for rate in (44100, 44101, 48000, 11025):
        y = resample(np.full(rate // 10, 0.5, np.float32), NETWORK, rate)
        np.testing.assert_allclose(y[200:-200], 0.5, atol=2e-6)


@pytest.mark.parametrize("rate", [0, -1, 7999, 384001, 10**9])
def test_rates_out_of_range_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="8000 to 384000"):
        _engine.Resampler(rate, NETWORK)
    with pytest.raises(ValueError, match="8000 to 384000"):
        latency.compute(rate, 128, 160, 0)
