"""Fixtures of the dashboard's tests: a server that plays, with a data folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.browser import Browser
from tests.server.harness import ServerProcess, save_tiny_pack

KEY = "correct horse"


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XDG_DATA_HOME of all servers here, with one pack of the user's in it."""
    folder = tmp_path_factory.mktemp("data")
    packs = folder / "rtserver" / "models"
    packs.mkdir(parents=True)
    save_tiny_pack(packs / "tiny.pt")
    return folder


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server that finds that data folder, and wait until it is ready; stopped in the end."""
    started: list[ServerProcess] = []

    def begin(*arguments: str, **options: Any) -> ServerProcess:
        log = tmp_path_factory.mktemp("server") / "server.log"
        environment = {"XDG_DATA_HOME": str(data_folder)}
        started.append(ServerProcess(log, *arguments, environment=environment, **options))
        return started[-1].wait_ready()

    yield begin
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(start: Callable[..., ServerProcess]) -> ServerProcess:
    """One server with a small instrument, shared by all tests. Whoever changes its default changes it back."""
    return start("--model", "tiny.pt", "--margin", "studio")


@pytest.fixture(scope="session")
def keyed(start: Callable[..., ServerProcess]) -> ServerProcess:
    """One that listens on every address, with a key."""
    return start("--model", "identity16k", "--host", "0.0.0.0", key=KEY)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()
