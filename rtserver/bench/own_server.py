"""A server of one's own in a subprocess: what `bench stream`, the demo and tests talk to."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rtserver.errors import UserError

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that is free now for UDP and TCP alike (the server takes both)."""
    for _ in range(64):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind((LOOPBACK, 0))
            port: int = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind((LOOPBACK, port))
                    return port
                except OSError:
                    continue
    raise UserError("found no port that is free for UDP and TCP; close some programs and try again")


def port_in_use(port: int) -> bool:
    """Whether another program on this machine holds the port, for UDP or TCP."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM and os.name != "nt":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return True
    return False


def status_at(port: int) -> dict[str, Any] | None:
    """Status of the rtserver on this machine's `port`; None if nothing of the kind answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2.0)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if response.status == 200 and isinstance(answer, dict) else None


class OwnServer:
    """Context manager: `rtserver` with the given models on `port`, ready to be connected to unless `wait` is False.

    started_ns: CLOCK_MONOTONIC when the process was launched. model_names: what the server calls each model.
    Raises UserError with the server's own words if it doesn't come up.
    """

    def __init__(
        self,
        models: Sequence[str],
        port: int | None = None,
        *,
        arguments: Sequence[str] = (),
        timeout_s: float = 90.0,
        wait: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """environment: variables beside those of this process."""
        self.port = port if port is not None else free_port()
        named = [word for model in models for word in ("--model", model)]
        self._command = [sys.executable, "-m", "rtserver", *named, "--port", str(self.port), "--quiet", *arguments]
        self.model_names = {model: Path(model).stem if model.endswith(".pt") else model for model in models}
        self._timeout_s = timeout_s
        self._wait = wait
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.started_ns = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> OwnServer:
        self._log = tempfile.TemporaryFile()
        self.started_ns = time.monotonic_ns()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=self._environment,
        )
        if self._wait:
            try:
                self.wait_ready()
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def wait_ready(self) -> None:
        """Wait until the models run. UserError if they don't."""
        deadline_s = time.monotonic() + self._timeout_s
        while (self.status() or {}).get("state") != "ready":
            self.check_alive()
            if time.monotonic() > deadline_s:
                raise UserError(self._last_words(f"the server was not ready after {self._timeout_s:.0f} s"), 1)
            time.sleep(0.02)

    def check_alive(self) -> None:
        """UserError with the server's own words if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise UserError(self._last_words(f"the server ended with status {self._process.returncode}"), 1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._log is not None:
            self._log.close()

    def status(self) -> dict[str, Any] | None:
        """The server's status, None while it doesn't answer."""
        return status_at(self.port)

    def log(self) -> str:
        """What the server wrote on standard error."""
        assert self._log is not None
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()

    def resident_mb(self) -> float | None:
        """Memory held by the server's processes together, pages that they share counted once; None without /proc."""
        parts = self.resident_parts_mb()
        return round(sum(parts.values()), 1) if any(parts.values()) else None

    def resident_parts_mb(self) -> dict[str, float]:
        """The same by process: control, worker, and whatever else they have started."""
        worker = ((self.status() or {}).get("worker") or {}).get("pid")
        names = {self.pid: "control", worker: "worker"}
        parts: dict[str, float] = dict.fromkeys(("control", "worker", "other"), 0.0)
        for pid in _family(self.pid):
            parts[names.get(pid, "other")] += resident_kb(pid) / 1024.0
        return {name: round(megabytes, 1) for name, megabytes in parts.items()}

    def _last_words(self, otherwise: str) -> str:
        lines = self.log().splitlines()
        return lines[-1].removeprefix("rtserver: error: ") if lines else otherwise


def _family(pid: int) -> list[int]:
    pids = [pid]
    for known in pids:
        try:
            for task in Path(f"/proc/{known}/task").iterdir():
                pids.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:
            continue
    return pids


def resident_kb(pid: int) -> int:
    """Proportional set size: a page that n processes share counts 1/n. Where that isn't told, all that is resident."""
    for file, name in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
                if line.startswith(name):
                    return int(line.split()[1])
        except OSError:
            continue
    return 0
