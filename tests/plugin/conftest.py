"""Fixtures of the plugin's tests: the program that drives a plugin, and those of the server's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugin.driver import Plugin
from tests.programs.build import build
from tests.programs.variants import PLUGIN_PROGRAM
from tests.server.conftest import server, start_server

__all__ = ["plugin_of", "plugin_program", "server", "start_server"]


@pytest.fixture(scope="session")
def plugin_program() -> Path:
    return build(PLUGIN_PROGRAM)


@pytest.fixture
def plugin_of(plugin_program: Path) -> Iterator[Callable[[int], Plugin]]:
    """Make plugins that look for their server at a port."""
    made: list[Plugin] = []

    def make(port: int) -> Plugin:
        made.append(Plugin(plugin_program, port))
        return made[-1]

    yield make
    for plugin in made:
        plugin.__exit__(None, None, None)
