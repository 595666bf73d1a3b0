"""Hosts that are Python packages (VST3, LV2), each run in a process of the environment that `setup/hosts` makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("drivers") / "play.py"
Floats = npt.NDArray[np.float32]


def interpreter() -> Path:
    """Python of the hosts' environment: RTSERVER_HOSTS_PYTHON, or where setup/hosts puts it."""
    return Path(os.environ.get("RTSERVER_HOSTS_PYTHON") or ROOT / "build/hosts/bin/python")


def require(host: str) -> None:
    """Skip the test where the host isn't installed."""
    if not interpreter().exists():
        pytest.skip(f"{host} is not installed: make hosts")
    command = [str(interpreter()), "-c", f"import importlib.metadata; importlib.metadata.version({host!r})"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{host} is not installed: make hosts")


def play(
    host: str,
    plugin: Path,
    x: Floats,  # [frames, channels]
    folder: Path,
    *,
    rate: int = 48000,
    block: int = 256,
    environment: dict[str, str] | None = None,
    **job: Any,
) -> tuple[Floats, dict[str, Any]]:
    """What came out, [frames, channels], and what the host tells; see drivers/play.py for the job."""
    require(host)
    source, target, order = folder / "in.f32", folder / "out.f32", folder / "job.json"
    np.ascontiguousarray(x, dtype=np.float32).tofile(source)
    channels = x.shape[1]
    order.write_text(
        json.dumps(
            {
                "plugin": str(plugin),
                "rate": rate,
                "block": block,
                "channels": channels,
                "input": str(source),
                "output": str(target),
                **job,
            }
        )
    )
    done = subprocess.run(
        [str(interpreter()), str(DRIVER), host, str(order)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, f"{host}: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return np.fromfile(target, np.float32).reshape(-1, channels), json.loads(done.stdout.splitlines()[-1])
