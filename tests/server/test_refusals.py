"""What a server says when it can't start: one line on standard error, a non-zero status, no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.server.harness import ROOT, free_port


def rtserver(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtserver", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def refused(*arguments: str) -> str:
    done = rtserver(*arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith("rtserver: error: ")]
    assert done.returncode != 0
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--host", "0.0.0.0"), "--key"),
        (("--host", "no-such-host.invalid"), "--key"),
        (("--model", "[/bold]"), "[/bold]"),
        (("--margin", "huge"), "live, balanced, studio"),
        (("--port", "0"), "--port"),
        (("--port", "ninety"), "--port"),
        (("--key", "@/no/such/file"), "--key"),
        (("--key", ""), "empty"),
        (("--no-such-option",), "--help"),
        (("no-such-command",), "--help"),
        (("status", "--port", "1"), "start one with"),
    ],
)
def test_bad_arguments(arguments, says):
    assert says in refused(*arguments)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "pickle", "truncated", "folder"])
def test_bad_model_files(kind, tmp_path, tiny_pack):
    path = tmp_path / "bad.pt"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a model")
    elif kind == "pickle":
        path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    elif kind == "truncated":
        path.write_bytes(tiny_pack.read_bytes()[:2000])
    elif kind == "folder":
        path.mkdir()
    assert "bad.pt" in refused("--model", str(path), "--port", str(free_port()))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_port_in_use(kind):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        assert "in use" in refused("--model", "loopback", "--port", str(taken.getsockname()[1]))


def test_a_second_server(server):
    assert "in use" in refused("--model", "loopback", "--port", str(server.port))
    assert server.status()["state"] == "ready"
