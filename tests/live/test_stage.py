"""Ten minutes on stage, in real time: `make stage`. MINUTES=1 for a short look, MARGIN=live for another.

The demo's melody goes into PulseAudio's virtual microphone, and then into JACK; the piano and identity16k play it at
the same time, each through a server of its own into virtual headphones of its own, so that both meet the same machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver.demo.clip import melody
from tests.hosts import jack
from tests.live import pulse
from tests.live.performer import Performer
from tests.server.harness import eventually

MINUTES = float(os.environ.get("RTSERVER_STAGE_MINUTES", "10"))
MARGIN = os.environ.get("RTSERVER_STAGE_MARGIN", "auto")
OUT = os.environ.get("RTSERVER_STAGE_OUT")  # a file for the figures
pytestmark = [
    pytest.mark.skipif(not os.environ.get("RTSERVER_STAGE"), reason="takes ten minutes: make stage"),
    pytest.mark.timeout(60 * MINUTES + 300),
]
PLAY = """
import sys, numpy, sounddevice
frames = numpy.load(sys.argv[1])
system = next(n for n, d in enumerate(sounddevice.query_devices()) if d["name"] == "system")
with sounddevice.OutputStream(48000, device=system, channels=1, dtype="float32", latency=0.5) as stream:
    stream.write(frames)
"""
MODELS = {"piano.pt": "piano_headphones", "identity16k": "identity_headphones"}
COUNTS = ("misses", "input_overflows", "input_underflows", "output_underflows", "output_overflows", "overruns")


def told(state: dict[str, Any], began: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: state[name] - began[name] for name in (*COUNTS, "blocks")},
        "misses_by_cause": state["misses_by_cause"],
        **{
            name: state[name] for name in ("latency", "margin", "drift", "rate_hz", "block_frames", "howls", "reopened")
        },
    }


def play(
    folder: Path,
    arguments: Callable[[str], tuple[str, ...]],
    environment: dict[str, str],
    begin: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Both models at once for MINUTES, after `begin`; a report and the lines that each told meanwhile."""
    report: dict[str, Any] = {"minutes": MINUTES, "margin": MARGIN, "load_average": os.getloadavg()}
    lines = {}
    with ExitStack() as stack:
        performers = {}
        for model, headphones in MODELS.items():
            own = folder / headphones
            own.mkdir()
            performers[model] = stack.enter_context(
                Performer(own, "--model", model, "--margin", MARGIN, *arguments(model), environment=environment)
            )
        begin()
        time.sleep(5.0)  # both have begun
        began = {model: (performer.now, len(performer.lines)) for model, performer in performers.items()}
        time.sleep(60.0 * MINUTES)
        for model, performer in performers.items():
            before, place = began[model]
            lines[model] = performer.lines[place:]
            report[model] = told(performer.now, before)
    report["load_average_after"] = os.getloadavg()
    return report, lines


def told_of(stack: str, report: dict[str, Any]) -> None:
    """Print it, side by side what is to be compared; and into OUT."""
    for name in ("blocks", *COUNTS):
        print(f"{stack} {name}: " + ", ".join(f"{model} {report[model][name]}" for model in MODELS))
    for model in MODELS:
        latency = report[model]["latency"]
        print(f"{stack} {model}: declared {latency['declared']} ms, measured by the driver {latency['measured']} ms")
    print(json.dumps(report, indent=2))
    if OUT:
        path = Path(OUT)
        path.with_stem(f"{path.stem}-{stack}").write_text(json.dumps(report, indent=2))


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

    def arguments(model: str) -> tuple[str, ...]:
        devices = ("--input", "virtual_microphone", "--output", f"virtual_{MODELS[model]}")
        return (*devices, "--rate", str(pulse.RATE_HZ))

    report, _ = play(tmp_path, arguments, stage.environment)
    heard = {model: np.fromfile(recordings[name], "<f4") for model, name in MODELS.items()}
    for model, recorded in heard.items():
        last = recorded[-round(seconds * pulse.RATE_HZ) :]
        second = last[: len(last) // pulse.RATE_HZ * pulse.RATE_HZ].reshape(-1, pulse.RATE_HZ)
        report[model]["seconds_recorded"] = len(second)
        report[model]["seconds_silent"] = int((np.abs(second).max(axis=1) < 1e-3).sum())
    told_of("pulse", report)
    for model in MODELS:
        assert report[model]["seconds_recorded"] > 0.9 * seconds
        assert report[model]["seconds_silent"] < 0.2 * seconds
        assert report[model]["reopened"] == 0
    assert report["piano.pt"]["misses"] <= report["identity16k"]["misses"] + 0.0001 * report["piano.pt"]["blocks"]


def test_ten_minutes_on_jack(tmp_path: Path) -> None:
    """One clock, no ring; what is heard is in what the performer tells."""
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))  # type: ignore[arg-type]
    tune = np.concatenate([melody(pulse.RATE_HZ), np.zeros(pulse.RATE_HZ, np.float32)])
    np.save(tmp_path / "tune.npy", np.resize(tune, round((60.0 * MINUTES + 200) * pulse.RATE_HZ)).astype(np.float32))
    with jack.running(tmp_path, pulse.RATE_HZ, 256) as server:

        def begin() -> None:
            before = set(server.ports())
            server.start(sys.executable, "-c", PLAY, str(tmp_path / "tune.npy"))
            source = eventually(
                lambda: next((port for port in set(server.ports()) - before if "out" in port.split(":")[1]), None),
                "the melody's port",
            )
            for port in before:
                if port.startswith("PortAudio") and "in" in port.split(":")[1]:
                    server.connect(source, port)

        system = ("--input", "system (JACK", "--output", "system (JACK")
        report, lines = play(tmp_path, lambda model: system, server.environment, begin)
    for model in MODELS:
        peaks = [line["output_peak"] or 0.0 for line in lines[model]]
        report[model]["share_of_time_silent"] = float(np.mean(np.array(peaks) < 1e-3))
    told_of("jack", report)
    for model in MODELS:
        assert report[model]["share_of_time_silent"] < 0.4
        assert report[model]["reopened"] == 0
        assert report[model]["latency"]["measured"] is not None, "JACK tells when a block is captured and heard"
    assert report["piano.pt"]["misses"] <= report["identity16k"]["misses"] + 0.0001 * report["piano.pt"]["blocks"]
