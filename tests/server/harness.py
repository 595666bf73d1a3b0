"""What the tests of the server share: a real server in a process of its own, on a free port, and signals."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
PATIENCE_SECONDS = 20.0  # for what takes milliseconds on an idle machine


def free_port() -> int:
    """A port that is free for UDP and TCP alike, and not one that systems give to clients: those come and go."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until `condition` gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


def shared_memory(pid: int) -> list[str]:
    """Names in /dev/shm that a server of that process id has made."""
    folder = Path("/dev/shm")
    return sorted(path.name for path in folder.glob(f"rtserver-{pid}-*")) if folder.is_dir() else []


class ServerProcess:
    """`rtserver ARGUMENTS --port FREE`, started."""

    def __init__(
        self,
        log: Path,
        *arguments: str,
        key: str | None = None,
        port: int | None = None,
        under: tuple[str, ...] = (),  # a program that runs the server, such as ("taskset", "-c", "0")
        environment: dict[str, str] | None = None,  # beside that of the tests
        module: tuple[str, ...] = ("rtserver",),  # and its first arguments
    ) -> None:
        self.port = port or free_port()
        self.key = key.encode() if key else None
        self.log = log
        command = [*under, sys.executable, "-m", *module, *arguments, "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            stderr=log.open("w"),
            stdout=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **({"RTSERVER_KEY": key} if key else {}),
                **(environment or {}),
            },
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def status(self) -> dict[str, Any]:
        from rtserver.client import server_status

        return server_status(self.port, key=self.key)

    def wait_ready(self) -> ServerProcess:
        from rtserver.errors import UserError

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return bool(self.status()["state"] == "ready")
            except UserError:
                return False

        eventually(ready, f"server ready; its log: {self.log.read_text()}", START_SECONDS)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def noise(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Seeded noise, float32, [frames] or [frames, channels]."""
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, (frames, channels)).astype(np.float32)
    return values[:, 0] if channels == 1 else values


def through(bridge: Any, frames: np.ndarray, blocks: list[int]) -> np.ndarray:
    """Send everything in blocks of these sizes in turn; what came back, as long as the input."""
    returned, at, turn = [], 0, 0
    while at < len(frames):
        size = min(blocks[turn % len(blocks)], len(frames) - at)
        returned.append(bridge.process(frames[at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate(returned)


def words(text: str) -> str:
    """Text without the line breaks and styles of a terminal."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", text))


def save_tiny_pack(path: Path) -> None:
    """Write an untrained model with two decoders, narrow enough to run many times faster than real time."""
    import torch

    from models.decoder import Decoder
    from models.encoder import Encoder
    from rtserver import model_file
    from rtserver.model_config import DecoderConfig, EncoderConfig, ModelConfig

    torch.manual_seed(7)
    config = ModelConfig(
        encoder=EncoderConfig(blocks=1, layers=6, channels=16, latent_channels=8, hop_samples=160),
        decoder=DecoderConfig(blocks=1, layers=6, residual_channels=16, skip_channels=16),
    )
    decoders = {
        name: Decoder(config.decoder, config.encoder.latent_channels, config.encoder.hop_samples).state_dict()
        for name in ("piano", "strings")
    }
    model_file.save(path, config, Encoder(config.encoder).state_dict(), decoders, card={"name": "untrained"})
