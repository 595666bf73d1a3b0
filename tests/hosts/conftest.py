"""Fixtures of the hosts' tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.clap_host import ClapHost, build, clap_headers


@pytest.fixture(scope="session")
def clap_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CLAP host, compiled; faulty.clap lies beside it."""
    if sys.platform != "linux":
        pytest.skip("measures threads by means of Linux")
    headers = clap_headers()
    if not headers:
        pytest.skip("no CLAP headers: install dpf-source or name them in RTSERVER_CLAP_HEADERS")
    return build(tmp_path_factory.mktemp("clap_host"), headers)


@pytest.fixture
def start_clap(clap_program: Path, tmp_path: Path) -> Iterator[Callable[..., ClapHost]]:
    """Start a CLAP host with a plugin file; ended after the test."""
    started: list[ClapHost] = []

    def start(plugin: Path, **options: Any) -> ClapHost:
        folder = tmp_path / f"host{len(started)}"
        folder.mkdir()
        started.append(ClapHost(clap_program, plugin, folder, **options))
        return started[-1]

    yield start
    for host in started:
        host.process.kill()
        host.process.wait()
