"""How a server starts: from prepared weights without torch; and it starts, and starts its worker anew, without them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from rtserver import model_file, osc, pipeline, prepared
from rtserver.client import Bridge
from rtserver.connection import ControlConnection, NoServer
from tests.server.harness import ServerProcess, eventually, noise, through

Start = Callable[..., ServerProcess]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(prepared.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def imported(server: ServerProcess) -> set[str]:
    """Modules that any of a server's processes has imported; it was started with PYTHONPROFILEIMPORTTIME."""
    return set(re.findall(r"^import time:[ 0-9|]+\| +(\S+)$", server.log.read_text(), re.MULTILINE))


def sound(server: ServerProcess) -> np.ndarray:
    """What a client hears of noise."""
    frames = noise(8000)
    with Bridge(server.port, 16000, 160, offline=True, seed=4) as bridge:
        padded = np.concatenate([frames, np.zeros(bridge.latency_frames, np.float32)])
        return through(bridge, padded, [160])[bridge.latency_frames :]


def test_no_process_imports_torch_when_the_weights_are_prepared(
    start_server: Start, cache: Path, tiny_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    heard = []
    for hit in (False, True):
        server = start_server("--model", str(tiny_pack))
        heard.append(sound(server))
        modules = imported(server)
        assert {"numpy", "rtserver.worker.process", "rtserver.control.server"} <= modules
        assert ("torch" in modules) is not hit
        assert not modules & {"onnx", "onnxruntime"}, "these are for GPUs"
    assert np.array_equal(*heard)
    assert np.array_equal(heard[0], pipeline.translate(model_file.load(tiny_pack), noise(8000), 16000, seed=4))


def test_the_worker_imports_neither_the_command_line_nor_http(
    start_server: Start, cache: Path, tiny_pack: Path
) -> None:
    server = start_server("--model", str(tiny_pack))
    worker = server.status()["worker"]["pid"]
    for pid, expected in ((server.pid, True), (worker, False)):
        maps = Path(f"/proc/{pid}/maps").read_text()
        eventually(lambda pid=pid: "numpy" in Path(f"/proc/{pid}/maps").read_text(), "numpy is mapped")
        assert ("pydantic_core" in maps) is expected  # typer's
        assert "libtorch" not in maps
    mapped = Path(f"/proc/{worker}/maps").read_text()
    assert ".prepared" not in mapped, "the engine has its own copies; the mapping is over"


@pytest.mark.parametrize("how", ["off", "read-only"])
def test_a_server_without_a_cache_serves(
    how: str, cache: Path, tiny_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tells what it serves only when it knows: a client that asks first would take a probe for the default."""
    if how == "off":
        monkeypatch.setenv(prepared.VARIABLE, "off")
    else:
        cache.write_text("")  # even root can't make a folder of this
    other = tiny_pack.with_name("other.pt")
    shutil.copy(tiny_pack, other)
    server = ServerProcess(tmp_path / "log", "--model", str(tiny_pack), "--model", str(other))

    def served() -> dict[str, Any] | None:
        with ControlConnection("127.0.0.1", server.port) as connection:
            try:
                answer = connection.request(osc.ModelsRequest(), osc.ModelsReply, 10.0)
            except NoServer:  # not yet
                return None
        return dict(json.loads(cast(osc.ModelsReply, answer).json))

    try:
        first = eventually(served, "what is served", 60.0)
        assert first["default"] == "tiny" and {"tiny", "other"} <= {model["name"] for model in first["models"]}
        server.wait_ready()
        assert np.std(sound(server)) > 1e-3
        told = re.findall(r".*prepared weights.*", server.log.read_text())
        assert len(told) == (how != "off"), "said once"
    finally:
        server.stop()


def test_a_new_worker_is_fed_although_the_cache_was_emptied(start_server: Start, cache: Path, tiny_pack: Path) -> None:
    server = start_server("--model", str(tiny_pack))
    before = sound(server)
    shutil.rmtree(cache)
    worker = server.status()["worker"]["pid"]
    os.kill(worker, signal.SIGKILL)

    def back() -> bool:
        status = server.status()
        return status["worker"]["pid"] not in (None, worker)

    eventually(back, "a new worker")
    assert np.array_equal(sound(server), before)
    assert len(list(cache.iterdir())) == 1, "prepared again"


def test_a_pack_that_was_replaced_is_not_served_by_stealth(start_server: Start, cache: Path, tiny_pack: Path) -> None:
    pack = cache.with_name("pack.pt")
    shutil.copy(tiny_pack, pack)
    server = start_server("--model", str(pack))
    model = model_file.load(pack)
    model_file.save(pack, model.config, model.encoder, model.decoders, card={"name": "another"})
    shutil.rmtree(cache)
    os.kill(server.status()["worker"]["pid"], signal.SIGKILL)
    assert server.process.wait(30) == 2
    assert "was changed while it was served" in server.log.read_text()


def test_the_first_session_is_served_while_http_still_loads(start_server: Start, cache: Path) -> None:
    server = start_server("--model", "loopback")
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/status")
    assert connection.getresponse().status == 200
    connection.close()
