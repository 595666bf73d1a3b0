"""`rtserver live` on a JACK server with a dummy card: the delay that it declares, MIDI from afar, a take; and the
server's death and return at another rate."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver.live.controls import Controls, Instrument
from rtserver.midi.player import MidiPlayer
from rtserver.midi.ports import VIRTUAL_NAME
from tests.hosts.jack import Jack
from tests.live.performer import Performer
from tests.server.harness import eventually

PROGRAMS = ("jackd", "jack_iodelay", "jack_connect", "jack_lsp")
RATE, PERIOD = 48000, 256


@pytest.fixture(autouse=True)
def needed() -> None:
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install jackd2")
    pytest.importorskip("mido")
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))  # type: ignore[arg-type]


def free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_performance_with_an_accident(tmp_path: Path) -> None:
    import mido
    import mido.sockets
    import soundfile

    midi = free_tcp_port()
    jack = Jack(tmp_path, RATE, PERIOD, {})
    try:
        arguments = (
            "--model", "loopback", "--input", "system (JACK", "--output", "system (JACK", "--midi", f"listen:{midi}",
            "--record", str(tmp_path / "takes"), "--margin", "balanced",
        )  # fmt: skip
        with Performer(tmp_path, *arguments, environment=jack.environment) as performer:
            now = performer.now
            assert now["rate_hz"] == RATE and "JACK" in now["input"] and now["block_frames"] >= PERIOD
            declared = round(now["latency"]["session"]["reported"] * RATE / 1000)
            ours = [port for port in jack.ports() if port.startswith("PortAudio")]
            source = next(port for port in ours if "in" in port.split(":")[1])
            target = next(port for port in ours if "out" in port.split(":")[1])
            measured = jack.roundtrip(source, target, 2.5)
            assert measured == pytest.approx(declared, abs=1.0), (measured, declared, now["latency"])
            heard = performer.wait(lambda now: now["output_peak"] and now["output_peak"] > 1e-3, "sound")
            assert heard["howls"] == 0
            with mido.sockets.connect("127.0.0.1", midi) as sender:
                sender.send(mido.Message("control_change", control=64, value=127))
                performer.wait(lambda now: now["muted"] and now["output_peak"] == 0.0, "muted by a pedal")
                sender.send(mido.Message("control_change", control=64, value=0))
                performer.wait(lambda now: not now["muted"] and now["output_peak"] > 1e-3, "heard again")
                sender.send(mido.Message("control_change", control=1, value=0))
                performer.wait(lambda now: now["parameters"]["mix"] == 0.0, "mix by a controller")
                sender.send(mido.Message("control_change", control=123, value=0))
                performer.wait(lambda now: "panic" in now["said"], "panic")
            performer.wait(lambda now: now["output_peak"] and now["output_peak"] > 1e-3, "sound after the panic")

            jack.stop()
            lost = performer.wait(lambda now: now["state"] != "playing", "the loss is noticed", 15.0)
            assert lost["why"] and lost["server"] == "alive"
            jack = Jack(tmp_path, 44100, PERIOD, {})
            back = performer.wait(lambda now: now["state"] == "playing", "back", 60.0)
            assert back["rate_hz"] == 44100 and back["parameters"]["mix"] == 0.0
            performer.wait(lambda now: now["blocks"] > back["blocks"] + 100, "it plays")
        take = min((tmp_path / "takes").iterdir())
        dry, rate = soundfile.read(take / "dry.wav", dtype="float32")
        wet, _ = soundfile.read(take / "wet.wav", dtype="float32")
        told = json.loads((take / "take.json").read_text())
        assert rate == RATE and len(dry) == len(wet) == told["frames"] and told["latency_frames"] == declared
        start = int(np.flatnonzero(np.abs(dry) > 1e-4)[0]) + RATE // 2
        assert np.array_equal(wet[start + declared : start + declared + RATE, 0], dry[start : start + RATE])
    finally:
        jack.stop()


def test_a_virtual_midi_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of JACK, which needs no sequencer in the kernel: a program change arrives and plays the second instrument."""
    import mido

    pytest.importorskip("rtmidi")
    told: list[str] = []

    class Audio:
        state: dict[str, Any] = {}  # noqa: RUF012
        settings: dict[str, Any] = {}  # noqa: RUF012

        def do(self, what: str, **how: Any) -> None:
            told.append(f"{what} {how}")

    controls = Controls(Audio(), [Instrument("a", "piano"), Instrument("a", "violin")], 0, "takes")  # type: ignore[arg-type]
    jack = Jack(tmp_path, RATE, PERIOD, {})
    before = mido.backend
    try:
        for name in ("JACK_DEFAULT_SERVER", "JACK_NO_AUDIO_RESERVATION"):
            monkeypatch.setenv(name, jack.environment[name])
        monkeypatch.setenv("RTSERVER_CONFIG", str(tmp_path))
        mido.set_backend("mido.backends.rtmidi/UNIX_JACK")
        with MidiPlayer("virtual", None, controls):
            ours = [name for name in mido.get_output_names() if VIRTUAL_NAME in name]
            with mido.open_output(ours[0]) as sender:
                sender.send(mido.Message("program_change", program=1))
                sender.send(mido.Message("reset"))
                eventually(lambda: len(told) == 2, "two messages")
        assert told == ["play {'model': 'a', 'decoder': 'violin'}", "panic {}"]
    finally:
        mido.set_backend(before)
        jack.stop()
