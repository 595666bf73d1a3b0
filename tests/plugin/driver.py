"""The other end of plugin_program: talks to one plugin in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np


class Refused(Exception):
    """The plugin said no."""


class Plugin:
    """One plugin. Audio is float32, [frames] or [frames, channels]. A context manager."""

    def __init__(self, program: Path, port: int = 0, config: str = "") -> None:
        """port: of the server, by environment; 0 leaves that to config, the text of plugin.conf."""
        self._folder = tempfile.TemporaryDirectory()
        settings = Path(self._folder.name, "rtserver", "plugin.conf")
        settings.parent.mkdir()
        settings.write_text(config)
        environment = {**os.environ, "XDG_CONFIG_HOME": self._folder.name}
        if port:
            environment["RTSERVER_PORT"] = str(port)
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> Plugin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        status = self._process.wait(30)
        self._folder.cleanup()
        assert kind is not None or status == 0

    def send(self, command: str) -> None:
        """A command whose answer is fetched later, by `answer`."""
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().rstrip("\n")
        word, _, rest = line.partition(" ")
        if word == "refused":
            raise Refused(rest)
        assert word == "ok", f"plugin_program ended: {self._process.poll()}"
        return rest

    def ask(self, command: str) -> str:
        self.send(command)
        return self.answer()

    def numbers(self, command: str) -> dict[str, float]:
        return numbers(self.ask(command))

    def activate(self, rate_hz: int = 48000, block_frames: int = 128, channels: int = 1) -> int:
        """The latency reported afterwards."""
        return int(self.numbers(f"activate {rate_hz} {block_frames} {channels}")["latency"])

    def set(self, symbol: str, value: float) -> None:
        self.ask(f"set {symbol} {value!r}")

    def get(self, symbol: str) -> float:
        return self.numbers(f"get {symbol}")["value"]

    def begin(self, frames: np.ndarray, blocks: list[int], pace: float = 1.0) -> None:
        """Start playing; `finish` waits for the end."""
        self._shape = frames.shape
        frames.astype(np.float32).tofile(f"{self._folder.name}/in")
        sizes = ",".join(map(str, blocks))
        self.send(f"play {self._folder.name}/in {self._folder.name}/out {pace} {sizes}")

    def finish(self) -> tuple[np.ndarray, dict[str, float]]:
        counted = numbers(self.answer())
        return np.fromfile(f"{self._folder.name}/out", np.float32).reshape(self._shape), counted

    def play(self, frames: np.ndarray, blocks: list[int], pace: float = 1.0) -> tuple[np.ndarray, dict[str, float]]:
        self.begin(frames, blocks, pace)
        return self.finish()

    def save(self) -> str:
        self.ask(f"save {self._folder.name}/state")
        return Path(self._folder.name, "state").read_text()

    def load(self, state: bytes | str) -> None:
        """Raises Refused."""
        path = Path(self._folder.name, "state")
        path.write_bytes(state if isinstance(state, bytes) else state.encode())
        self.ask(f"load {path}")


def numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(\w+)=(\S+)", text)}


CONNECTIONS = (
    "inactive",
    "no server",
    "connecting",
    "connected",
    "instrument missing",
    "restart needed",
    "refused",
    "bounce failed",
)


def connection(plugin: Plugin) -> str:
    return CONNECTIONS[int(plugin.get("connection"))]
