"""The native path between sound card and session: exact where it should be, silent when it must be."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from rtserver import _engine
from tests.server.harness import noise

RATE, BLOCK, LATENCY = 48000, 128, 1105


def path(**options: int) -> _engine.LivePath:
    """A path over a bridge without a server, which plays its input, delayed by exactly LATENCY."""
    channels = options.get("channels", 1)
    bridge = _engine.Bridge(RATE, BLOCK, channels, LATENCY, 48)
    return _engine.LivePath(bridge, rate_hz=RATE, max_block=BLOCK, **options)


def through(live: _engine.LivePath, frames: np.ndarray, block: int = BLOCK) -> np.ndarray:
    return np.concatenate([live.duplex(frames[at : at + block]) for at in range(0, len(frames), block)])


@pytest.mark.parametrize("block", [32, 128, 441])  # 441: more than the session takes at once
def test_what_goes_in_comes_out_exactly_late(block: int) -> None:
    source = noise(20_000)
    out = through(path(), source, block)
    assert np.array_equal(out[LATENCY:, 0], source[:-LATENCY])
    assert np.array_equal(out[:, 0], out[:, 1])
    assert not out[:LATENCY].any()


def test_channels_are_picked() -> None:
    source = noise(6000, 2)
    third = np.concatenate([np.zeros((6000, 2), np.float32), source], axis=1)
    out = through(path(channels=2, input_channels=4, first_input=2, output_channels=4), third)
    assert np.array_equal(out[LATENCY:, :2], source[:-LATENCY])
    assert not out[:, 2:].any()
    with pytest.raises(ValueError, match="no such channel"):
        path(input_channels=2, first_input=2)


def test_nothing_leaves_louder_than_the_ceiling() -> None:
    loud = 8.0 * noise(20_000)
    loud[5000], loud[6000] = np.nan, np.inf
    out = through(path(), loud)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 10 ** (-1 / 20) + 1e-6
    quiet = 0.5 * noise(20_000)
    assert np.array_equal(_engine.limit(quiet, RATE), quiet)  # what is below is not touched


def test_panic_is_silent_within_a_block_and_sound_returns() -> None:
    live = path()
    tone = 0.5 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE).astype(np.float32)
    through(live, tone[: RATE // 4])
    live.panic()
    first = live.duplex(tone[:BLOCK])
    assert not first[48:].any(), "1 ms to fade, then nothing"
    after = through(live, tone)
    assert not after[: RATE // 5].any()
    assert np.abs(after[RATE // 2 :]).max() > 0.3


def test_mute_and_unmute_do_not_click() -> None:
    live = path()
    tone = 0.5 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE).astype(np.float32)
    played = [through(live, tone[:9600])]
    live.muted = True
    played.append(through(live, tone[9600:19200]))
    live.muted = False
    played.append(through(live, tone[19200:28800]))
    assert not played[1][2400:].any()
    whole = np.concatenate(played)[LATENCY:, 0]
    steepest = 0.5 * 2 * np.pi * 220 / RATE
    assert np.abs(np.diff(whole)).max() < 1.3 * steepest


def test_a_change_of_session_fades_between_the_two() -> None:
    bridges = [_engine.Bridge(RATE, BLOCK, 1, latency, 48) for latency in (960, 2400)]  # 50 and 125 periods
    live = _engine.LivePath(bridges[0], rate_hz=RATE, max_block=BLOCK)
    tone = 0.5 * np.sin(2 * np.pi * 2500 / 50 * np.arange(RATE) / RATE).astype(np.float32)
    before = through(live, tone[:9600])
    with pytest.raises(RuntimeError, match="another inside"):
        bridges[0].process(tone[:64])
    assert live.switch_to(bridges[1])
    assert not live.settled and not live.switch_to(bridges[0])
    after = through(live, tone[9600:28800])
    assert live.settled
    bridges[0].process(tone[:64])  # it is its owner's again
    whole = np.concatenate([before, after])[3000:, 0]
    assert np.abs(whole[:5000]).max() > 0.45 and np.abs(whole[-5000:]).max() > 0.45
    assert np.abs(np.diff(whole)).max() < 1.3 * 0.5 * 2 * np.pi * 50 / RATE, "no step"
    assert np.abs(whole[:24_960].reshape(-1, 960)).max(axis=1).min() > 0.4, "no gap"


def test_dry_and_wet_are_recorded_side_by_side() -> None:
    live = path()
    live.set_recording(True)
    source = 0.5 * noise(20_000)
    out = through(live, source)
    taken = live.take(1 << 20)
    assert np.array_equal(taken[:, 0], source)
    assert np.array_equal(taken[:, 1:], out)
    live.set_recording(False)
    through(live, source)
    assert not len(live.take(1 << 20))


def test_a_recorder_that_sleeps_costs_frames_not_time() -> None:
    live = path()
    live.set_recording(True)
    source = 0.5 * noise(RATE)
    for _ in range(5):
        through(live, source)
    taken = live.take(1 << 20)
    assert live.counted()["take_dropped"] == 5 * RATE - len(taken) > 0
    assert np.array_equal(taken[:RATE, 0], source)


def test_portaudio_calls_it_without_python() -> None:
    """The addresses are functions of PortAudio's shape: called here as a driver would, flags counted."""
    live = path(output_channels=1)
    callback = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p
    )(live.duplex_address)
    source, out = noise(20 * BLOCK), np.zeros(20 * BLOCK, np.float32)
    times = (ctypes.c_double * 3)(1.0, 1.003, 1.0125)
    for at in range(0, len(source), BLOCK):
        code = callback(source[at:].ctypes.data, out[at:].ctypes.data, BLOCK, times, 2 | 4, live.user_data)
        assert code == 0
    assert np.array_equal(out[LATENCY:], source[:-LATENCY])
    seen = live.counted()
    assert (seen["calls"], seen["input_overflows"], seen["output_underflows"]) == (20, 20, 20)
    assert seen["input_underflows"] == seen["output_overflows"] == 0
    assert seen["device_latency_s"] == pytest.approx(0.0125)
    times_ns, ends = live.call_log()
    assert list(ends) == list(range(BLOCK, 21 * BLOCK, BLOCK)) and (np.diff(times_ns.astype(np.int64)) > 0).all()


def test_meters_read_peak_and_mean() -> None:
    live = path()
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    through(live, tone)
    seen = live.stats()
    assert seen["input_peak"] == pytest.approx(0.5, abs=1e-3) == seen["output_peak"]
    assert seen["input_rms"] == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert live.stats()["input_peak"] == 0.0, "since the last reading"
