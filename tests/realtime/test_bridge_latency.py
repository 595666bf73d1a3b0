"""The latency contract over shared memory: the probes come back after exactly the reported frames, in every block size.

Offline, because then nothing can be missed on a busy machine: what is checked is which sample comes back when.
"""

from __future__ import annotations

import numpy as np
import pytest

from rtserver import _engine
from tests.realtime.stream_harness import Floats, streaming

BLOCKS = {"64": [64], "128": [128], "441": [441], "1024": [1024], "varying": [64, 1, 441, 128, 1024, 17]}
blocks = pytest.mark.parametrize("sizes", BLOCKS.values(), ids=BLOCKS.keys())


def noise(frames: int, channels: int = 1) -> Floats:
    x = np.random.default_rng(frames).uniform(-0.5, 0.5, (frames, channels)).astype(np.float32)
    return x if channels > 1 else x[:, 0]


@blocks
@pytest.mark.parametrize("rate", [44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_loopback_is_bit_exact_at_the_reported_latency(rate: int, sizes: list[int], channels: int) -> None:
    x = noise(rate // 2, channels)
    x[100] = -0.0
    with streaming("loopback", rate, max(sizes), channels) as s:
        y = s.play(x, sizes)
        delay = s.parts.reported
        assert s.bridge.stats()["misses"] == 0
    np.testing.assert_array_equal(y[delay:].view(np.uint32), x[: len(x) - delay].view(np.uint32))
    assert not y[:delay].any()


@blocks
@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_identity16k_comes_back_within_a_frame_of_the_reported_latency(rate: int, sizes: list[int]) -> None:
    x = noise(rate // 2)
    with streaming("identity16k", rate, max(sizes)) as s:
        y = s.play(x, sizes)
        reported = s.parts.reported
    spectrum = np.fft.rfft(y, 2 * len(x)) * np.conj(np.fft.rfft(x, 2 * len(x)))
    assert abs(int(np.argmax(np.fft.irfft(spectrum))) - reported) <= 1


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 44101, 48000, 96000])
def test_block_size_changes_no_bit(rate: int) -> None:
    """identity16k over every block size, and the synchronous stages without any thread: the same frames."""
    x = noise(rate // 2)
    intake, renderer = _engine.Intake(rate, 1, 160, "linear"), _engine.Renderer(rate, 160, None)
    intake.push(x)
    intake.finish()
    parts = []
    while (hop := intake.pop_hop()) is not None:
        parts.append(renderer.push(hop))
    reference = np.concatenate(parts)[: len(x)]
    for sizes in BLOCKS.values():
        with streaming("identity16k", rate, max(sizes)) as s:
            y = s.play(np.concatenate([x, np.zeros(s.parts.reported, np.float32)]), sizes)
            np.testing.assert_array_equal(y[s.parts.reported :], reference)


def test_the_live_total_is_at_most_25_ms() -> None:
    with streaming("identity16k", 48000, 128) as s:
        assert s.parts.reported <= 0.025 * 48000
        assert s.segment.latency == s.parts.to_dict()


@pytest.mark.parametrize(("kind", "sizes"), [("loopback", 128), ("identity16k", [64, 441, 1, 128])])
def test_real_time_frames_that_are_there_are_the_offline_ones(kind: str, sizes: int | list[int]) -> None:
    """Two seconds at a sound card's pace. The machine may make us miss; then the frames between misses are compared."""
    rate, block = 48000, sizes if isinstance(sizes, int) else max(sizes)
    x = noise(2 * rate)
    with streaming(kind, rate, block) as s:
        wanted = s.play(x, [512])
        parts = s.parts
    with streaming(kind, rate, block, offline=False) as s:
        result = _engine.BlockDriver().run(s.bridge, x, sizes, rate)
        stats = s.bridge.stats()
    good = np.ones(len(x), bool)
    for frame in result["miss_frames"]:
        good[frame : frame + block + 2 * parts.fade] = False
    assert len(result["miss_frames"]) == stats["misses"] == sum(stats["misses_by_cause"].values())
    assert stats["frames"] == len(x)
    if stats["epochs"] == 1:  # an overrun (a stall of half a second) would start the resampler anew
        np.testing.assert_array_equal(result["output"][good], wanted[good])
    assert good.mean() > 0.5 or len(result["machine_stalls_ns"]) > 0
    assert len(result["round_trip_us"]) > 0 and result["round_trip_us"].min() > 0
