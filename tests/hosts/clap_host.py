"""Drives the CLAP host of tests/hosts/clap: a process that takes one command a line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class HostError(Exception):
    """The host could not do what it was told."""


class HostDied(Exception):
    """The process is gone: a crash of the plugin, or a finding of a sanitizer."""


class ClapHost:
    """One host process with one plugin file loaded. A context manager."""

    def __init__(
        self,
        program: Path,
        plugin: Path,
        folder: Path,
        *,
        without: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self.folder, self.log = folder, folder / "host.log"
        left_out = [word for extension in without for word in ("--without", extension)]
        self.process = subprocess.Popen(
            [*under, str(program), str(plugin), *left_out],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("a"),
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.parameters: dict[str, dict[str, Any]] = {}
        self.channels = 2
        self._playing: tuple[Path, bool] | None = None

    def __enter__(self) -> ClapHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.quit() if kind is None else self.process.kill()

    def quit(self) -> int:
        """End it as a host ends: the plugin destroyed, the library closed. The exit status."""
        if self.process.poll() is None and self.process.stdin:
            try:
                self.process.stdin.write("quit\n")
                self.process.stdin.close()
            except OSError:
                pass
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def ask(self, *words: object) -> dict[str, Any]:
        """One command. Raises HostError with what the host says, HostDied with the log if it is gone."""
        assert self.process.stdin and self.process.stdout
        line = ""
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            pass
        if not line:
            raise HostDied(f"status {self.process.wait(20)} after {words}; {self.log.read_text()[-6000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HostError(answer["error"])
        return answer

    def create(self, plugin_id: str | None = None) -> ClapHost:
        """Make an instance, by default of the file's first plugin."""
        identity = plugin_id or self.ask("scan")["plugins"][0]["id"]
        assert self.ask("create", identity)["created"], identity
        described = self.ask("describe")
        self.parameters = {p["name"]: p for p in described["parameters"]}
        self.channels = described["inputs"][0]
        return self

    def activate(self, rate: float = 48000, block: int = 128, low: int = 1) -> int:
        """Give the latency that is reported."""
        answer = self.ask("activate", rate, low, block)
        assert answer["active"]
        return int(answer["latency"])

    def get(self, name: str) -> float:
        return float(self.ask("get", self.parameters[name]["id"])["value"])

    def text(self, name: str, value: float | None = None) -> str:
        """How the plugin shows a value, by default the present one."""
        shown = self.get(name) if value is None else value
        return str(self.ask("text", self.parameters[name]["id"], shown)["text"])

    def set(self, name: str, value: float) -> None:
        """Between plays; with `event` during one."""
        self.ask("flush", self.parameters[name]["id"], value)

    def event(self, frame: int, name: str, value: float) -> None:
        """Have the next play bring this value at that frame. In the order of frames."""
        self.ask("event", frame, self.parameters[name]["id"], value)

    def start(
        self,
        x: Floats,  # [frames, channels]
        blocks: Sequence[int] = (128,),
        pace: str = "free",  # or sleep, spin: as a sound card asks
        *how: str,  # traced, counted, in_place
        frames: int | None = None,  # longer than x: x again
        keep: bool = True,
    ) -> None:
        """Begin to play in the background."""
        source, target = self.folder / "in.f32", self.folder / "out.f32"
        np.ascontiguousarray(x, dtype=np.float32).tofile(source)
        self._playing = (target, keep)
        sizes = ",".join(map(str, blocks))
        self.ask("play", source, target if keep else "-", frames or len(x), pace, sizes, *how)

    def finish(self, command: str = "wait") -> tuple[Floats, dict[str, Any]]:
        """What came out, [frames, channels], and the report."""
        assert self._playing
        target, keep = self._playing
        report = self.ask(command)
        y = np.fromfile(target, np.float32) if keep else np.zeros(0, np.float32)
        return y.reshape(-1, self.channels), report

    def play(self, x: Floats, *arguments: Any, **options: Any) -> tuple[Floats, dict[str, Any]]:
        self.start(x, *arguments, **options)
        return self.finish()
