"""`rtserver doctor` tells programs and people what this machine can do, and notices what is wrong."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rtserver import cli
from rtserver.bench.own_server import free_port
from rtserver.commands.doctor import examine
from rtserver.doctor import machine

HEADER = struct.Struct("<IIIIQI")  # magic, version, header_bytes, generation, session, server_pid


def doctor(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.build_app(), ["doctor", *arguments])
    return result.exit_code, result.stdout


def test_json_says_what_is_there() -> None:
    status, out = doctor("--json", "--port", str(free_port()))
    report = json.loads(out)
    assert status == 0 and report["usable"] is True
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["processor"]["data"]["isa"] in ("scalar", "neon", "avx2", "avxvnni", "avx512", "avx512vnni")
    assert checks["processor"]["data"]["cores"] >= 1
    assert "CPUExecutionProvider" in checks["ONNX Runtime"]["data"]["providers"]
    assert {"GPU", "audio devices", "real-time priority", "cores", "locked memory"} <= set(checks)
    assert checks["cores"]["data"]["pinned"] is (checks["cores"]["data"]["encoder_core"] is not None)
    for check in report["problems"]:
        assert check["fix"], f"{check['name']} is a problem without a fix"


def test_table_has_a_line_for_every_check() -> None:
    port = free_port()
    status, out = doctor("--port", str(port))
    assert status == 0
    for check in examine(port):
        assert check.name in out


def test_a_port_held_by_another_program_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        check = machine.port(port)
    assert check.state == "warning" and str(port + 1) in check.fix
    assert machine.port(port).state == "ok"


def test_segments_of_dead_servers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    for name, pid in ((f"rtserver-{dead}-1-1", dead), (f"rtserver-{os.getpid()}-2-1", os.getpid()), ("other", dead)):
        (tmp_path / name).write_bytes(HEADER.pack(0x42535452, 1, 65536, 1, 1, pid).ljust(4096, b"\0"))
    (tmp_path / f"rtserver-{dead}-3-1").write_bytes(b"")
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    check = machine.stale_segments()
    assert check is not None and check.state == "warning"
    assert check.data["segments"] == [f"rtserver-{dead}-1-1", f"rtserver-{dead}-3-1"]


def test_a_machine_without_room_is_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SEGMENT_MB", 10**9)
    status, out = doctor("--json", "--port", str(free_port()))
    assert status == 1 and json.loads(out)["usable"] is False
