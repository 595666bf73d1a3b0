"""Fixtures of the hosts' tests: the plugin's bundles, the CLAP host, and servers to play through."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import bundles as plugin_bundles
from tests.hosts.bundles import LIAR, SANITIZED, Bundles
from tests.hosts.clap_host import ClapHost
from tests.programs.build import build
from tests.programs.variants import clap_headers, clap_host
from tests.server.harness import ServerProcess

EVERYTHING = bool(os.environ.get("RTSERVER_HOSTS"))  # make hosts: what takes long, and what needs real hosts

Start = Callable[..., ClapHost]
Serve = Callable[..., ServerProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `hosts` run in `make hosts` only."""
    for item in items:
        if item.get_closest_marker("hosts") and not EVERYTHING:
            item.add_marker(pytest.mark.skip(reason="takes long or needs a host: make hosts"))


@pytest.fixture(scope="session")
def headers() -> Path:
    if sys.platform != "linux":
        pytest.skip("measures threads by means of Linux")
    found = clap_headers()
    if not found:
        pytest.skip("no headers of the plugin formats: install dpf-source, or name CLAP's in RTSERVER_CLAP_HEADERS")
    return found


@pytest.fixture(scope="session")
def clap_program(headers: Path) -> Path:
    """The CLAP host, compiled; faulty.clap lies beside it."""
    return build(clap_host()) / "clap_host"


@pytest.fixture(scope="session")
def bundles(headers: Path) -> Bundles:
    """The plugin as it is."""
    return plugin_bundles.plain()


@pytest.fixture(scope="session")
def lying_bundles(headers: Path) -> Bundles:
    """The plugin, reporting LIE_FRAMES less than it delays; CLAP only where no other host is tested."""
    return plugin_bundles.built(LIAR._replace(target="all") if EVERYTHING else LIAR)


@pytest.fixture(params=["plain", pytest.param("sanitized", marks=pytest.mark.hosts)], scope="session")
def variant(request: pytest.FixtureRequest) -> tuple[Bundles, Path]:
    """The plugin and the CLAP host that goes with it: as they are, or both under the sanitizers."""
    if request.param == "plain":
        return request.getfixturevalue("bundles"), request.getfixturevalue("clap_program")
    host = build(clap_host("-DSANITIZE=ON", variant="clap-host-sanitized")) / "clap_host"
    return plugin_bundles.built(SANITIZED), host


@pytest.fixture
def start_clap(clap_program: Path, tmp_path: Path, environment_for: Callable[[int], dict[str, str]]) -> Iterator[Start]:
    """Start a CLAP host with a plugin file, which looks for its server at `port`; ended after the test."""
    started: list[ClapHost] = []

    def start(plugin: Path, port: int = 9, program: Path = clap_program, **options: Any) -> ClapHost:
        folder = tmp_path / f"host{len(started)}"
        folder.mkdir()
        started.append(ClapHost(program, plugin, folder, environment=environment_for(port), **options))
        return started[-1]

    yield start
    for host in started:
        host.process.kill()
        host.process.wait()


@pytest.fixture(scope="session")
def environment_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, str]]:
    """What a host's environment has beside that of the tests: the server's port, and no settings of the user's."""
    empty = str(tmp_path_factory.mktemp("config"))
    return lambda port: {"RTSERVER_PORT": str(port), "XDG_CONFIG_HOME": empty}


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server of these models, the first the default; one for all tests that ask for the same."""
    running: dict[tuple[str, ...], ServerProcess] = {}

    def server(*models: str | Path) -> ServerProcess:
        names = tuple(map(str, models))
        if names not in running or running[names].process.poll() is not None:
            arguments = [word for name in names for word in ("--model", name)]
            running[names] = ServerProcess(tmp_path_factory.mktemp("server") / "log", *arguments).wait_ready()
        return running[names]

    yield server
    for process in running.values():
        process.stop()
