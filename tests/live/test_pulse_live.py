"""`rtserver live` on PulseAudio: two devices with a ring between, a sound server that dies. Part of `make stage`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.live import pulse
from tests.live.performer import Performer

TONE_HZ = 330.0
pytestmark = pytest.mark.skipif(not os.environ.get("RTSERVER_STAGE"), reason="takes long: make stage")


def begin(folder: Path) -> pulse.Pulse:
    running = pulse.Pulse(folder, ["headphones"])
    running.record("headphones")
    t = np.arange(120 * pulse.RATE_HZ) / pulse.RATE_HZ
    running.play((0.3 * np.sin(2 * np.pi * TONE_HZ * t)).astype(np.float32))
    return running


def test_a_sound_server_that_dies_costs_no_session(tmp_path: Path) -> None:
    pulse.require()
    stack = begin(tmp_path)
    try:
        devices = ("--input", "virtual_microphone", "--output", "virtual_headphones", "--rate", str(pulse.RATE_HZ))
        with Performer(tmp_path, "--model", "identity16k", *devices, environment=stack.environment) as performer:

            def heard(now: dict[str, object]) -> bool:
                pitch, peak = now["pitch_hz"], now["output_peak"]
                return bool(pitch and peak and abs(float(pitch) - TONE_HZ) < 3 and float(peak) > 0.2)  # type: ignore[arg-type]

            first = performer.wait(heard, "the tone in the headphones")
            assert first["drift"] is not None and first["latency"]["between_devices"] > 0
            stack.stop()
            lost = performer.wait(lambda now: now["state"] != "playing", "the loss is noticed", 15.0)
            assert lost["why"] and lost["server"] == "alive"
            shutil.rmtree(tmp_path / "run")
            (tmp_path / "native").unlink(missing_ok=True)
            stack = begin(tmp_path)
            back = performer.wait(lambda now: now["state"] == "playing" and heard(now), "back", 60.0)
            assert back["session"] == first["session"] and back["reopened"] >= 1 and back["restarts"] == 0
            assert back["latency"]["session"] == pytest.approx(first["latency"]["session"])
    finally:
        stack.stop()
