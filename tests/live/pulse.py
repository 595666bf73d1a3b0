"""PulseAudio without a sound card: null sinks as a virtual microphone and virtual headphones, reached by PortAudio
through ALSA's plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.programs import processes

RATE_HZ = 48000
PLUGIN = "/usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so"
LATENCY = ("--latency-msec=10", "--process-time-msec=5")  # a null sink is as slow as its most patient client


def require() -> None:
    """Skip the test where the programs aren't installed."""
    missing = [program for program in ("pulseaudio", "pactl", "pacat", "parec") if not shutil.which(program)]
    if not list(Path("/").glob(PLUGIN.lstrip("/"))):
        missing.append("ALSA's pulse plugin")
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install pulseaudio libasound2-plugins")
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))  # type: ignore[arg-type]


class Pulse:
    """A server of its own in `folder`, with a microphone and the headphones of these names.

    Both run by the system's clock, or, as `pipes`, by whoever writes `NAME.pipe` and reads it: float32, one channel in,
    two out.
    """

    def __init__(self, folder: Path, headphones: Sequence[str], pipes: bool = False) -> None:
        self.folder = folder
        (folder / "run").mkdir(mode=0o700)
        socket = folder / "native"
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "PULSE_SERVER": f"unix:{socket}",
            "JACK_NO_START_SERVER": "1",
        }
        microphone = "microphone" if pipes else "microphone.monitor"
        devices = {"virtual_microphone": microphone, **{f"virtual_{name}": name for name in headphones}}
        rows = (f"pcm.{name} {{ type pulse device {device} }}" for name, device in devices.items())
        (folder / ".asoundrc").write_text("\n".join([*rows, "ctl.pulse { type pulse }\n"]))
        modules = []
        for name in ("microphone", *headphones):
            source = name == "microphone"
            kind = ("pipe-source source" if source else "pipe-sink sink") if pipes else "null-sink sink"
            pipe = f" format=float32le file={folder / name}.pipe" if pipes else ""
            modules.append(f"module-{kind}_name={name} rate={RATE_HZ} channels={1 if source else 2}{pipe}")
        modules.append(f"module-native-protocol-unix socket={socket} auth-anonymous=1")
        self._started: list[subprocess.Popen[bytes]] = []
        self._start(
            "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit",
            *(word for module in modules for word in ("-L", module)),
        )  # fmt: skip
        deadline = time.monotonic() + 20.0
        while b"microphone" not in self._ask("pactl", "list", "short", "sources"):
            assert time.monotonic() < deadline, (folder / "pulseaudio.log").read_text()
            time.sleep(0.1)

    def _start(self, *command: str, out: Path | None = None) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{command[0]}.log").open("ab")
        target = out.open("wb") if out else log
        process = subprocess.Popen(command, stdout=target, stderr=log, env=self.environment)
        self._started.append(process)
        return process

    def _ask(self, *command: str) -> bytes:
        return subprocess.run(command, capture_output=True, check=False, env=self.environment).stdout

    def play(self, frames: np.ndarray) -> subprocess.Popen[bytes]:
        """Into the microphone, float32 mono."""
        path = self.folder / "microphone.raw"
        frames.astype("<f4").tofile(path)
        shape = ("--format=float32le", f"--rate={RATE_HZ}", "--channels=1", "--raw")
        return self._start("pacat", "--playback", "--device=microphone", *shape, *LATENCY, str(path))

    def record(self, headphones: str) -> Path:
        """What the headphones play from now on: float32 mono, raw."""
        path = self.folder / f"{headphones}.raw"
        shape = ("--format=float32le", f"--rate={RATE_HZ}", "--channels=1", "--raw")
        self._start("parec", f"--device={headphones}.monitor", *shape, *LATENCY, out=path)
        return path

    def stop(self) -> None:
        processes.end(self._started)


@contextmanager
def running(folder: Path, *headphones: str) -> Iterator[Pulse]:
    require()
    pulse = Pulse(folder, headphones)
    try:
        yield pulse
    finally:
        pulse.stop()
