"""What is shown, and what keys arrive."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from rtserver.live import screen
from rtserver.live.controls import Controls, Instrument
from rtserver.live.driver import burst_frames
from rtserver.live.keys import split

RATE = 48000
STATE = {
    "state": "playing", "muted": False, "input": "mic", "output": "phones", "rate_hz": RATE, "server": "alive",
    "input_rms": 0.1, "input_peak": 0.5, "output_rms": 0.0, "output_peak": 0.0, "pitch_hz": 440.0, "blocks": 1000,
    "misses": 2, "misses_by_cause": {"decoder": 2}, "input_overflows": 1, "limiter_gain": 0.5, "guard_gain_db": 0.0,
    "parameters": {"mix": 1.0},
    "latency": {
        "session": {"block": 2.7, "resampling": 5.4, "lookahead": 0.0, "hop": 10.0, "margin": 5.0, "reported": 23.0},
        "input": 3.0, "output": 4.0, "between_devices": 0.0, "declared": 30.0, "measured": 31.5,
    },
}  # fmt: skip


def shown(state: dict[str, object]) -> str:
    controls = Controls(None, [Instrument("a", "piano"), Instrument("a", "violin")], 1, "takes")  # type: ignore[arg-type]
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(screen.picture(state, controls, "TCP port 9"))
    return console.export_text()


def test_the_screen_tells_everything() -> None:
    text = shown(STATE)
    for words in (
        "ON AIR", "1 piano", "2 violin", "-6.0 dB", "silent", "A4 +0 cents, 440 Hz", "30.0 ms, measured 31.5 ms",
        "input 3.0 + block 2.7 + resampling 5.4 + hop 10.0 + margin 5.0 + output 4.0", "2 of 1,000 blocks (decoder 2)",
        "input overflows 1", "limiter -6.0 dB", "TCP port 9", "p space panic",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize(
    "change, words",
    [
        ({"muted": True, "built_in_pair": True}, "MUTED (m to be heard; microphone and speakers are the built-in pair"),
        ({"state": "waiting for the device", "why": "gone"}, "waiting for the device: gone"),
        ({"server": "away"}, "the server is away: playing dry"),
        ({"guard_gain_db": -60.0}, "HOWL caught"),
    ],
)
def test_the_state_is_said_first(change: dict[str, object], words: str) -> None:
    assert words in shown({**STATE, **change})


def test_keys_come_out_of_what_a_terminal_sends() -> None:
    assert split("a\x1b[A\x1b[Dq\x1bOC\x1b") == ["a", "up", "left", "q", "right"]


@pytest.mark.parametrize("calls, size, expected", [(1, 128, 128), (4, 128, 512), (2, 441, 882)])
def test_a_driver_that_calls_in_bursts_is_seen_through(calls: int, size: int, expected: int) -> None:
    """Groups of calls, each group when its frames are due; now and then the machine delays one."""
    random = np.random.default_rng(1)
    times, ends, end = [], [], 0
    for group in range(200):
        late = 0.02 if group % 40 == 7 else float(random.uniform(0, 1e-4))
        for call in range(calls):
            end += size
            times.append((group + 1) * calls * size / RATE + late + 1e-4 * call)
            ends.append(end)
    log = np.round(np.array(times) * 1e9).astype(np.uint64), np.array(ends, np.uint64)
    assert burst_frames(log, RATE) == expected
