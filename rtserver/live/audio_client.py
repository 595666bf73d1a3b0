"""The other end of `rtserver.live.audio_process`: starts it, tells it what to do, hears what it does."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from rtserver.errors import UserError

OPEN_SECONDS = 60.0  # drivers and servers may be slow to start
SILENT_SECONDS = 8.0  # a driver that hangs in a call holds its process up: it is ended and started anew
LOST_SECONDS = 2.0  # the same when its device is known to be gone
CLOSE_SECONDS = 5.0


class AudioProcess:
    """One audio process, playing. Raises UserError with its words if it can't."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self._sending = threading.Lock()
        self._folder: str | None = None  # that takes go into, while there is one
        self.restarts = 0
        self.state: dict[str, Any] = {}
        self.refusals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._start(settings)
        self._wait_open()

    def _start(self, settings: dict[str, Any]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process is
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rtserver.live.audio_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._over: str | None = None
        self._opened = threading.Event()
        self._heard, self._patience = time.monotonic(), OPEN_SECONDS
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._send(settings)

    def _wait_open(self) -> None:
        self._opened.wait(OPEN_SECONDS)
        if not self.state or self._process.poll() is not None or self._over is not None:
            why = self._over or self._last_words()
            self.close()
            raise UserError(why)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            self._heard = time.monotonic()
            kind = told.pop("is", None)
            if process is not self._process:
                return
            if kind in ("open", "state"):
                self.state, self._patience = told, SILENT_SECONDS
                self._opened.set()
                if kind == "open" and self.restarts and self._folder:
                    self._send({"do": "record", "folder": self._folder})
            elif kind in ("lost", "waiting"):
                self._wait(told["why"], LOST_SECONDS if kind == "lost" else OPEN_SECONDS)
            elif kind == "refused":
                self.refusals.put(told["why"])
            elif kind == "over":
                self._over = told["why"]
        self._opened.set()

    def _send(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with self._sending, contextlib.suppress(BrokenPipeError, ValueError):  # keys and MIDI are two threads
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()

    def do(self, what: str, **how: Any) -> None:
        """Tell it to do something; what it refuses appears in `refusals`."""
        if what == "set" and how["name"] not in ("panic", "decoder"):
            self.settings.setdefault("parameters", {})[how["name"]] = how["value"]
        elif what == "play":
            self.settings |= {"model": how["model"], "decoder": how.get("decoder")}
        elif what == "mute":
            self.settings["muted"] = how["on"]
        elif what == "record":
            self._folder = how["folder"]
        self._send({"do": what, **how})

    def _wait(self, why: str, patience_s: float) -> None:
        silent = dict.fromkeys(("input_peak", "input_rms", "output_peak", "output_rms", "pitch_hz"))
        self.state = {**self.state, **silent, "state": "waiting for the device", "why": why}
        self._patience = patience_s

    def look(self) -> None:
        """To be called now and then: a process that ended or hangs is replaced by one that waits for the devices."""
        ended = self._process.poll() is not None
        if not ended and time.monotonic() - self._heard < self._patience:
            return
        why = "the audio process ended" if ended else "the driver hangs"
        self._process.kill()
        self._process.wait()
        # The settings hold what was set since, and the devices by the names they had.
        names = {"source": self.state.get("input"), "target": self.state.get("output")}
        self.settings |= {**names, "muted": self.state.get("muted"), "patient": True}
        self.restarts += 1
        self._log.close()
        self._start(self.settings)
        self._wait(f"{why}; it was begun anew", OPEN_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """Have it end, files closed; kill it if it won't."""
        self._send({"do": "quit"})
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)
        self._log.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"the audio process ended: {lines[-1]}" if lines else "the audio process did not start"
