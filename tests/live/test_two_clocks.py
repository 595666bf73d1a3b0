"""Headphones slower than the microphone by 200 ppm, in real time: `make stage`.

PulseAudio's pipes have no clock of their own: what this process writes is heard, what it reads was played. It writes by
the system's clock and reads by one that is slower, and knows of each frame when it went in and when it came out, so the
round trip is measured from outside all the while. Uncompensated it would grow by 12 ms a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live import pulse
from tests.live.performer import Performer

RATE = pulse.RATE_HZ
MINUTES = float(os.environ.get("RTSERVER_STAGE_MINUTES", "10"))
SLOWER_PPM = 200.0
SETTLE_SECONDS = 20.0
TICK_SECONDS = 0.002
PIPE_BYTES = 16384  # of the headphones' pipe, 43 ms that lie in it all the time
PRIORITY = 10  # SCHED_FIFO, where it is granted: a sound card isn't held up by other programs
SLICE, LONGEST = RATE // 10, RATE  # frames to look for, and the longest round trip
pytestmark = [
    pytest.mark.skipif(not os.environ.get("RTSERVER_STAGE"), reason="takes minutes: make stage"),
    pytest.mark.timeout(60 * MINUTES + 300),
]


class Device:
    """A sound card's side of a pipe: moves frames as its clock says, and notes how many had been moved when."""

    def __init__(self, path: Path, rate_hz: float, move: Callable[[int, int], int]) -> None:
        self._rate_hz, self._move = rate_hz, move
        self._log: list[tuple[int, int]] = [(0, time.monotonic_ns())]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=path.name)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(AttributeError, PermissionError):
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, os.sched_param(PRIORITY))
        done, began = 0, time.monotonic_ns()
        while not self._stop.wait(TICK_SECONDS):
            due = int((time.monotonic_ns() - began) * 1e-9 * self._rate_hz)
            if due - done > RATE // 5:  # the machine stood still, or the other side: a sound card doesn't catch up
                began += round(1e9 * (due - done) / self._rate_hz)
                continue
            moved = self._move(done, due - done)
            done += moved
            if moved:
                self._log.append((done, time.monotonic_ns()))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def when_s(self, frame: int) -> float:
        """When this frame was moved."""
        frames, times = np.array(self._log).T
        return float(times[np.searchsorted(frames, frame, "right").clip(max=len(times) - 1)]) / 1e9


class Headphones(Device):
    """Reads; `heard` is the first channel of it all."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._pieces, self._rest = [], b""
        super().__init__(path, rate_hz, self._read)

    def _read(self, done: int, frames: int) -> int:
        try:
            data = self._rest + os.read(self._pipe, max(0, 8 * frames - len(self._rest)))
        except BlockingIOError:
            return 0
        whole = len(data) // 8 * 8
        self._pieces.append(data[:whole])
        self._rest = data[whole:]
        return whole // 8

    @property
    def heard(self) -> np.ndarray:
        return np.frombuffer(b"".join(self._pieces), "<f4")[::2]


class Microphone(Device):
    """Writes `sound`, round and round."""

    def __init__(self, path: Path, rate_hz: float, sound: np.ndarray) -> None:
        self._pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        self._sound = np.concatenate([sound, sound]).astype("<f4")
        self._length = len(sound)
        super().__init__(path, rate_hz, self._write)

    def _write(self, done: int, frames: int) -> int:
        at = done % self._length
        try:
            return os.write(self._pipe, self._sound[at : at + frames].tobytes()) // 4
        except BlockingIOError:
            return 0


def spoken(heard: np.ndarray, frame: int, headphones: Headphones, microphone: Microphone, sound: Any) -> float:
    """The microphone's frame that is heard as the headphones' `frame`; nan where it isn't found."""
    piece = heard[frame : frame + SLICE]
    out_s = headphones.when_s(frame)
    frames, times = np.array(microphone._log).T
    latest = int(frames[np.searchsorted(times, out_s * 1e9) - 1]) + SLICE
    first = max(0, latest - LONGEST - SLICE)
    said = np.resize(np.roll(sound, -(first % len(sound))), latest - first)
    size = 1 << (len(said) + SLICE).bit_length()
    found = np.fft.irfft(np.fft.rfft(said, size) * np.conj(np.fft.rfft(piece, size)))[: len(said) - SLICE]
    best = int(found.argmax())
    if found[best] < 0.5 * np.sqrt(np.sum(piece**2) * np.sum(said[best : best + SLICE] ** 2)):
        return float("nan")
    return first + best


def test_headphones_slower_than_the_microphone(tmp_path: Path) -> None:
    pulse.require()
    stack = pulse.Pulse(tmp_path, ["headphones"], pipes=True)
    sound = np.random.default_rng(0).uniform(-0.2, 0.2, 7 * RATE).astype(np.float32)
    sound = np.convolve(sound, np.ones(8, np.float32) / 4, "same").astype(np.float32)  # nothing beyond the network's
    devices: list[Device] = []
    seconds = 60.0 * MINUTES
    try:
        microphone = Microphone(tmp_path / "microphone.pipe", RATE, sound)
        devices.append(microphone)
        headphones = Headphones(tmp_path / "headphones.pipe", RATE * (1 - SLOWER_PPM * 1e-6))
        devices.append(headphones)
        names = ("--input", "virtual_microphone", "--output", "virtual_headphones", "--rate", str(RATE))
        with Performer(tmp_path, "--model", "identity16k", *names, environment=stack.environment) as performer:
            time.sleep(SETTLE_SECONDS)
            states, moments = [], []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                states.append(performer.now)
                moments.append(headphones._log[-1][0])
                time.sleep(2.0)
    finally:
        for device in devices:
            device.stop()
        stack.stop()
    heard = headphones.heard
    out = np.array(moments) - SLICE
    found = np.array([spoken(heard, frame, headphones, microphone, sound) for frame in out])
    there = ~np.isnan(found)
    trips = np.full(len(out), np.nan)
    trips[there] = [
        1000.0 * (headphones.when_s(played) - microphone.when_s(int(said)))
        for played, said in zip(out[there], found[there], strict=True)
    ]
    faster_ppm = 1e6 * (np.polyfit(out[there], found[there], 1)[0] - 1.0)
    drift = [state["drift"] for state in states]
    quarter = max(1, len(states) // 4)
    waiting_ms = 1000.0 * np.array([each["waiting"] for each in drift]) / RATE
    target_ms = 1000.0 * np.array([each["target"] for each in drift]) / RATE
    began, ended = states[0], states[-1]
    report = {
        "minutes": MINUTES,
        "slower_ppm": SLOWER_PPM,
        "read_faster_by_ppm": {"in_the_sound": float(faster_ppm),
                               "as_told": np.quantile([each["ppm"] for each in drift], [0.25, 0.5, 0.75]).tolist()},
        "round_trip_ms": {"first_quarter": float(np.nanmedian(trips[:quarter])),
                          "last_quarter": float(np.nanmedian(trips[-quarter:])), "most": float(np.nanmax(trips)),
                          "not_found": int((~there).sum()), "looked": len(trips)},
        "declared_ms": [began["latency"]["declared"], ended["latency"]["declared"]],
        "between_devices_ms": {"waiting": [float(waiting_ms[0]), float(waiting_ms[-1])],
                               "target": [float(target_ms[0]), float(target_ms[-1])],
                               "farthest_from_target": float(np.abs(waiting_ms - target_ms).max())},
        "ran_empty": ended["drift"]["starved"] - began["drift"]["starved"],
        "skipped": ended["drift"]["skips"] - began["drift"]["skips"],
        "misses": ended["misses"] - began["misses"],
        "misses_by_cause": ended["misses_by_cause"],
        "blocks": ended["blocks"] - began["blocks"],
    }  # fmt: skip
    print(json.dumps(report, indent=2))
    assert there.mean() > 0.8, "the sound goes on"
    if not report["skipped"] and not report["ran_empty"]:  # else frames went, or came, another way too
        assert faster_ppm == pytest.approx(SLOWER_PPM, abs=5000.0 / seconds + 10.0), "5 ms from one end to the other"
    grown_ms = np.nanmedian(trips[-quarter:]) - np.nanmedian(trips[:quarter])
    assert grown_ms < 5.0 + target_ms[-1] - target_ms[0], "latency stays bounded"
