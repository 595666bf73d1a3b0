"""MIDI program changes from one model to another, sent by a socket while `rtserver live` plays on JACK: `make stage`.

Three packs with networks of their own: each has a session, and a change goes over from one to another. Turns of changes
and turns of program changes to what plays already follow each other; each turn is a take.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver import model_file
from tests.hosts.jack import Jack
from tests.live.chance import of_as_many
from tests.live.packs import of_shipped
from tests.live.performer import Performer
from tests.server.harness import eventually, free_port

RATE, PERIOD = 48000, 256
TURNS, TURN_SECONDS, PAUSE = 3, 15.0, 1.5  # of each kind; between two program changes
SOON_SECONDS = 0.7  # what is soon told after a change: the performer tells twice a second
CHANCE = 0.03
RECORD = 36  # the note that begins a take, and ends it
WIDE = RATE // 25  # frames of a window in which the largest step of the slope is looked for
FLOOR = 0.03  # level below which a step is the quantiser's
HEARD_SECONDS = 0.5  # after a program change was sent, and it is over
STEPS = 1.2  # the largest while a change is heard, of the largest elsewhere
PROGRAMS = ("jackd", "jack_metro", "jack_connect", "jack_lsp")
pytestmark = [
    pytest.mark.skipif(not os.environ.get("RTSERVER_STAGE"), reason="takes minutes: make stage"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def jack(tmp_path: Path) -> Iterator[Jack]:
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install jackd2")
    pytest.importorskip("mido")
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))  # type: ignore[arg-type]
    running = Jack(tmp_path, RATE, PERIOD, {})
    yield running
    running.stop()


def packs(folder: Path) -> list[str]:
    """Three instruments, each alone in a pack: two of the shipped one, and the first again."""
    decoders = list(model_file.load("piano.pt").decoders)
    paths = []
    for number, decoder in enumerate([*decoders, *decoders][:3]):
        paths.append(str(folder / f"{decoder}{number}.pt"))
        of_shipped(Path(paths[-1]), {decoder: decoder})
    return paths


def ours(state: dict[str, Any]) -> int:
    """Misses, but those of a host that called in a burst."""
    return sum(count for cause, count in state["misses_by_cause"].items() if cause != "host")


def roughness(take: Path) -> np.ndarray:
    """Of each window of a take: the largest step of the slope, as a share of the level there, if it is one."""
    import soundfile

    wet = soundfile.read(take / "wet.wav", dtype="float32", always_2d=True)[0][:, 0]
    windows = wet[: len(wet) // WIDE * WIDE].reshape(-1, WIDE)
    steps = np.abs(np.diff(windows, n=2, axis=1)).max(axis=1)
    return np.asarray(steps / np.maximum(FLOOR, np.sqrt(np.mean(windows**2, axis=1))))


def test_program_changes_among_three_models(jack: Jack, tmp_path: Path) -> None:
    import mido
    import mido.sockets

    port, takes = free_port(), tmp_path / "takes"
    mapping = tmp_path / "map.toml"
    mapping.write_text(f'[note]\n{RECORD} = "record"\n')
    models = [word for path in packs(tmp_path) for word in ("--model", path)]
    jack.start(
        "jack_metro", "--bpm", "150", "-f", "330", "-A", "0.3", "-D", "300", "-a", "10", "-d", "30", "-n", "beat"
    )
    jack.wait_for_port("beat:150_bpm")
    arguments = (
        *models, "--input", "system (JACK", "--output", "system (JACK", "--midi", f"listen:{port}",
        "--midi-map", str(mapping), "--record", str(takes),
    )  # fmt: skip
    spans: list[tuple[str, float, float]] = []
    sent: list[float] = []
    with Performer(tmp_path, *arguments, environment=jack.environment) as performer:
        source = next(name for name in jack.ports() if name.startswith("PortAudio") and "in" in name.split(":")[1])
        jack.connect("beat:150_bpm", source)
        performer.wait(lambda now: now["input_peak"] and now["input_peak"] > 0.1, "the beat")
        assert len({each["model"] for each in performer.now["instruments"]}) == 3
        with mido.sockets.connect("127.0.0.1", port) as sender:

            def record() -> None:
                sender.send(mido.Message("note_on", note=RECORD, velocity=100))

            record()  # ends the take that --record began
            time.sleep(1.0)
            program = 0
            for _ in range(TURNS):
                for kind in ("still", "changing"):
                    record()
                    began = time.monotonic()
                    while time.monotonic() < began + TURN_SECONDS - PAUSE:
                        time.sleep(PAUSE)
                        program = (program + (kind == "changing")) % 3
                        sender.send(mido.Message("program_change", program=program))
                        if kind == "changing":
                            sent.append(time.monotonic())
                            wanted = performer.now["instruments"][program]["model"]
                            performer.wait(lambda now, wanted=wanted: now["model"] == wanted, "another model", 5.0)
                    time.sleep(PAUSE)
                    record()
                    spans.append((kind, began, time.monotonic()))
                    time.sleep(1.0)
        eventually(lambda: performer.now["recording"] is None, "the last take is written")
        lines = list(performer.lines)
    kinds: dict[str, dict[str, Any]] = {
        kind: {"seconds": 0.0, "misses": 0, "ours": 0} for kind in ("still", "changing")
    }
    events = soon = 0
    for kind, began, ended in spans:
        inside = [line for line in lines if began <= line["told_s"] <= ended]
        kinds[kind]["seconds"] += ended - began
        kinds[kind]["misses"] += inside[-1]["misses"] - inside[0]["misses"]
        kinds[kind]["ours"] += ours(inside[-1]) - ours(inside[0])
        for before, after in pairwise(inside):
            if ours(after) > ours(before):
                events += 1
                soon += any(at <= after["told_s"] <= at + SOON_SECONDS for at in sent)
    share = len(sent) * SOON_SECONDS / sum(each["seconds"] for each in kinds.values())
    chance = of_as_many(events, soon, share)
    folders = sorted((path for path in takes.iterdir()), key=lambda path: (path / "wet.wav").stat().st_mtime)[1:]
    assert len(folders) == len(spans)
    rough = {"at_changes": [0.0], "elsewhere": [0.0]}
    for take, (_, began, _) in zip(folders, spans, strict=True):
        for window, value in enumerate(roughness(take)):
            at = began + window * WIDE / RATE
            heard = any(when - 0.1 <= at <= when + HEARD_SECONDS for when in sent)
            rough["at_changes" if heard else "elsewhere"].append(float(value))
    report = {"changes": len(sent), "soon": soon, "events": events, "chance": chance, **kinds}
    report["roughness"] = {place: np.quantile(values, [0.5, 0.999, 1.0]).tolist() for place, values in rough.items()}
    print(
        json.dumps({**report, "misses_by_cause": lines[-1]["misses_by_cause"], "reconnects": lines[-1]["reconnects"]})
    )
    assert lines[-1]["restarts"] == 0
    assert chance > CHANCE, f"{soon} of {events} times that it began to miss came soon after a change"
    assert max(rough["at_changes"]) <= STEPS * max(rough["elsewhere"])
