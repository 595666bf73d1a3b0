"""The measuring parts of `bench stream`, held to delays, misses and stalls that are known."""

from __future__ import annotations

import numpy as np
import pytest

from rtserver import latency
from rtserver.bench import machine, signals, stream, stream_report
from rtserver.errors import UserError


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 96000])
@pytest.mark.parametrize("frames", [0.0, 37.0, 801.25, 1233.5])
def test_delay_is_found_between_frames(rate_hz: int, frames: float) -> None:
    source = signals.noise(rate_hz, rate_hz, 1)
    spectrum = np.fft.rfft(np.concatenate([source[:, 0], np.zeros(len(source))]))
    shift = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * len(source)) * frames)
    output = np.fft.irfft(spectrum * shift)[: len(source)].astype(np.float32)[:, None]
    found = signals.correlated_delay(source, output, 4000)
    assert found is not None and abs(found.frames - frames) <= 0.011


def test_no_delay_in_what_has_nothing_in_common() -> None:
    source = signals.noise(48000, 48000, 1, seed=0)
    assert signals.correlated_delay(source, signals.noise(48000, 48000, 1, seed=1), 4000) is None
    assert signals.correlated_delay(source, np.zeros_like(source), 4000) is None


def test_one_wrong_bit_is_not_bit_exact() -> None:
    source = signals.noise(48000, 48000, 2)
    output = np.concatenate([np.zeros((500, 2), np.float32), source[:-500]])
    near = signals.Delay(500.02, False)
    assert signals.exact_delay(source, output, near) == signals.Delay(500.0, True)
    other = output.copy()
    other.view(np.uint32)[30000, 1] ^= 1
    assert not signals.exact_delay(source, other, near).bit_exact
    heard = np.ones(len(output), bool)
    heard[29990:30010] = False
    assert signals.exact_delay(source, other, near, heard).bit_exact, "a missed block is not looked at"
    other = output.copy()
    other[3, 0] = 1e-9
    assert not signals.exact_delay(source, other, near).bit_exact, "nothing may sound before the latency"


def test_noise_stays_in_its_band_and_repeats() -> None:
    x = signals.noise(25 * 48000, 48000, 1)[:, 0]
    assert np.array_equal(x[: 10 * 48000], x[10 * 48000 : 20 * 48000])
    power = np.abs(np.fft.rfft(x[: 10 * 48000])) ** 2
    above = np.fft.rfftfreq(10 * 48000, 1 / 48000) > 6100.0
    assert power[above].sum() < 1e-9 * power.sum()


@pytest.mark.parametrize(("block", "frames", "largest"), [(128, 48000, 128), ("varying", 48000, 1024), (64, 63, 64)])
def test_blocks_add_up(block: int | str, frames: int, largest: int) -> None:
    sizes = signals.block_sizes(block, frames, largest)
    assert sum(sizes) == frames and min(sizes) >= 1 and max(sizes) <= largest
    if block == "varying":
        assert len(set(sizes)) > 40


class _Steal(machine.StealMeter):
    """A meter that was told what it measured: (ns, ticks)."""

    def __init__(self, samples: list[tuple[int, int]]) -> None:
        super().__init__()
        self._samples = samples


def test_misses_are_laid_on_the_machine_only_when_it_stood_still() -> None:
    parts = latency.compute(48000, 128, 160, 0)
    second = 1_000_000_000
    quiet = _Steal([(0, 5), (second, 5), (2 * second, 5)])
    miss = stream_report.Miss(second, "decoder")

    def cause(steal: machine.StealMeter, *stalls: tuple[int, int]) -> str:
        stalls_ns = np.array(stalls, np.int64).reshape(-1, 2)
        return stream_report.attribute(miss, parts, 48000, steal, stalls_ns)

    assert cause(quiet) == "decoder"
    assert cause(quiet, (second - 3_000_000, second - 1_000_000)) == "machine_stall"
    assert cause(quiet, (second - 300_000, second)) == "decoder", "too short to explain anything"
    assert cause(quiet, (second + 1, second + 9_000_000)) == "decoder", "too late"
    assert cause(quiet, (second - 90_000_000, second - 80_000_000)) == "decoder", "too early"
    stolen = _Steal([(0, 5), (second - 9_000_000, 5), (second + 9_000_000, 6), (2 * second, 6)])
    assert cause(stolen) == "steal"
    long_before = _Steal([(0, 5), (second // 2, 9), (second - 60_000_000, 9), (2 * second, 9)])
    assert cause(long_before) == "decoder"


def test_minutes_alternate_and_add_up() -> None:
    options = stream.StreamOptions("a", seconds=150.0, alternate_with="b")
    turns = list(stream.plan(options))
    assert [model for model, _, _ in turns] == ["a", "b"] * 3
    assert sum(seconds for model, _, seconds in turns if model == "a") == pytest.approx(150.0)
    flooded = list(stream.plan(stream.StreamOptions("a", seconds=60.0, flood=1000)))
    assert flooded == [("a", 0, 60.0), ("a", 1000, 60.0)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_hz": 7999},
        {"block": 0},
        {"block": "many"},
        {"seconds": 0.0},
        {"margin": "none"},
        {"clients": 0},
        {"channels": 3},
        {"alternate_with": "loopback"},
    ],
)
def test_what_cannot_be_played_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        stream.StreamOptions("loopback", **wrong).check()  # type: ignore[arg-type]


def test_percentiles_of_nothing() -> None:
    assert stream_report.percentiles(np.zeros(0)) == {"p50": None, "p99": None, "p999": None, "max": None}
    assert stream_report.percentiles(np.arange(1001.0)) == {"p50": 500.0, "p99": 990.0, "p999": 999.0, "max": 1000.0}
