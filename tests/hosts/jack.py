"""JACK on a dummy sound card, with jalv as the host of an LV2 plugin and jack_iodelay measuring what it delays."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.programs import processes

PROGRAMS = ("jackd", "jalv", "jack_iodelay", "jack_connect", "jack_lsp")
PATIENCE_SECONDS = 20.0


def require() -> None:
    """Skip the test where the programs aren't installed."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install jackd2 jalv")


class Jack:
    """One server with a name of its own, at a pace of its own."""

    def __init__(self, folder: Path, rate: int, block: int, environment: dict[str, str]) -> None:
        self.block, self.folder = block, folder
        name = f"rtserver-test-{os.getpid()}"
        self.environment = {**os.environ, **environment, "JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1"}
        self._started: list[subprocess.Popen[str]] = []
        self.start("jackd", "-n", name, "--no-realtime", "-d", "dummy", "-r", str(rate), "-p", str(block))
        self.wait_for_port("system:playback_1")

    def start(self, *command: str) -> tuple[subprocess.Popen[str], Path]:
        """A program of this server; its output goes to a file. Ended with the server."""
        log = self.folder / f"{Path(command[0]).name}{len(self._started)}.log"
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log.open("w"), stderr=subprocess.STDOUT, text=True,
            env=self.environment,
        )  # fmt: skip
        self._started.append(process)
        return process, log

    def ports(self) -> list[str]:
        command = subprocess.run(["jack_lsp"], capture_output=True, text=True, check=False, env=self.environment)
        return command.stdout.split()

    def latencies(self, port: str) -> list[int]:
        """What the graph says of a port, in frames."""
        command = subprocess.run(
            ["jack_lsp", "-l", port], capture_output=True, text=True, check=True, env=self.environment
        )
        return [int(frames) for pair in re.findall(r"\[ (\d+) (\d+) \]", command.stdout) for frames in pair]

    def wait_for_port(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while name not in self.ports():
            logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))
            assert time.monotonic() < deadline, f"no port {name}: {self.ports()}\n{logs}"
            time.sleep(0.1)

    def connect(self, source: str, target: str) -> None:
        subprocess.run(["jack_connect", source, target], check=True, capture_output=True, env=self.environment)

    def roundtrip(self, send_to: str, return_from: str, seconds: float) -> float:
        """Frames that jack_iodelay finds between the two ports, the period of its own loop taken off."""
        _, log = self.start("stdbuf", "-oL", "jack_iodelay")
        self.wait_for_port("jack_delay:out")
        self.connect("jack_delay:out", send_to)
        self.connect(return_from, "jack_delay:in")
        time.sleep(seconds)
        found = re.findall(r"([\d.]+) frames.*total roundtrip", log.read_text())
        assert found, log.read_text()[-2000:]
        return float(found[-1]) - self.block

    def stop(self) -> None:
        processes.end(self._started)


@contextmanager
def running(folder: Path, rate: int = 48000, block: int = 256, **environment: str) -> Iterator[Jack]:
    """A server, stopped afterwards. folder takes the logs."""
    require()
    jack = Jack(folder, rate, block, environment)
    try:
        yield jack
    finally:
        jack.stop()
