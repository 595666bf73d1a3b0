"""`rtserver live --json` as a test starts and watches it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.server.harness import ROOT, eventually


class Performer:
    """A context manager around the command; `now` is its last line."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._log = folder / "live.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rtserver", "live", "--json", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log.open("w"), text=True,
            env={
                **os.environ, **(environment or {}), "PYTHONPATH": str(ROOT), "RTSERVER_CONFIG": str(folder / "config")
            },
        )  # fmt: skip
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append({**json.loads(line), "told_s": time.monotonic()})

    def __enter__(self) -> Performer:
        self.wait(lambda now: now["state"] == "playing", "playing", 90.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()

    @property
    def now(self) -> dict[str, Any]:
        return self.lines[-1] if self.lines else {}

    def wait(self, condition: Any, what: str, seconds: float = 30.0) -> dict[str, Any]:
        """The first line from now on that fulfils it."""

        def look() -> dict[str, Any] | None:
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            return self.now if self.now and condition(self.now) else None

        try:
            return dict(eventually(look, what, seconds))
        except AssertionError:
            raise AssertionError(f"{what}: {self.now}\n{self._log.read_text()[-2000:]}") from None
