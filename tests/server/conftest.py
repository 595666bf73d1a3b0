"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.harness import ServerProcess


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server and wait until it is ready; stopped after the test."""
    started: list[ServerProcess] = []

    def start(*arguments: str, **options: Any) -> ServerProcess:
        log = tmp_path / f"server{len(started)}.log"
        started.append(ServerProcess(log, *arguments, **options))
        return started[-1].wait_ready()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server with the probes, shared by the tests of a module."""
    running = ServerProcess(tmp_path_factory.mktemp("server") / "server.log", "--model", "loopback").wait_ready()
    yield running
    running.stop()
