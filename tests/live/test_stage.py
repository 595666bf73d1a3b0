"""Ten minutes on stage, in real time: `make stage`. MINUTES=1 for a short look, OUT for a file with the figures.

The demo's melody goes into PulseAudio's virtual microphone; the piano and identity16k play it at the same time, each
through a server of its own into virtual headphones of its own, so that both meet the same machine.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver.demo.clip import melody
from tests.live import pulse
from tests.live.performer import Performer

MINUTES = float(os.environ.get("RTSERVER_STAGE_MINUTES", "10"))
OUT = os.environ.get("RTSERVER_STAGE_OUT")
pytestmark = [
    pytest.mark.skipif(not os.environ.get("RTSERVER_STAGE"), reason="takes ten minutes: make stage"),
    pytest.mark.timeout(60 * MINUTES + 300),
]
MODELS = {"piano.pt": "piano_headphones", "identity16k": "identity_headphones"}
COUNTS = ("misses", "input_overflows", "input_underflows", "output_underflows", "output_overflows", "overruns")


def told(state: dict[str, Any], began: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: state[name] - began[name] for name in (*COUNTS, "blocks")},
        "misses_by_cause": state["misses_by_cause"],
        **{name: state[name] for name in ("latency", "drift", "rate_hz", "block_frames", "howls", "reopened")},
    }


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[pulse.Pulse]:
    with pulse.running(tmp_path, *MODELS.values()) as running:
        yield running


def test_ten_minutes_on_stage(stage: pulse.Pulse, tmp_path: Path) -> None:
    tune = melody(pulse.RATE_HZ)
    seconds = 60.0 * MINUTES
    frames = np.resize(
        np.concatenate([tune, np.zeros(pulse.RATE_HZ, np.float32)]), round((seconds + 200) * pulse.RATE_HZ)
    )
    stage.play(frames)
    recordings = {name: stage.record(name) for name in MODELS.values()}
    report: dict[str, Any] = {"minutes": MINUTES, "load_average": os.getloadavg()}
    with ExitStack() as stack:
        performers = {}
        for model, headphones in MODELS.items():
            folder = tmp_path / headphones
            folder.mkdir()
            arguments = ("--model", model, "--input", "virtual_microphone", "--output", f"virtual_{headphones}")
            performers[model] = stack.enter_context(
                Performer(folder, *arguments, "--rate", str(pulse.RATE_HZ), environment=stage.environment)
            )
        time.sleep(5.0)  # both have begun
        began = {model: performer.now for model, performer in performers.items()}
        time.sleep(seconds)
        for model, performer in performers.items():
            report[model] = told(performer.now, began[model])
        heard = {model: np.fromfile(recordings[name], "<f4") for model, name in MODELS.items()}
    report["load_average_after"] = os.getloadavg()
    for model, recorded in heard.items():
        last = recorded[-round(seconds * pulse.RATE_HZ) :]
        second = last[: len(last) // pulse.RATE_HZ * pulse.RATE_HZ].reshape(-1, pulse.RATE_HZ)
        report[model]["seconds_recorded"] = len(second)
        report[model]["seconds_silent"] = int((np.abs(second).max(axis=1) < 1e-3).sum())
    print(json.dumps(report, indent=2))
    if OUT:
        Path(OUT).write_text(json.dumps(report, indent=2))
    for model in MODELS:
        assert report[model]["seconds_recorded"] > 0.9 * seconds
        assert report[model]["seconds_silent"] < 0.2 * seconds
        assert report[model]["reopened"] == 0
    assert report["piano.pt"]["misses"] <= report["identity16k"]["misses"] + 0.0001 * report["piano.pt"]["blocks"]
