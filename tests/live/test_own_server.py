"""The server that `rtserver live` starts for itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from rtserver.bench.own_server import free_port, port_in_use, status_at
from rtserver.errors import UserError
from rtserver.live import performance


def options(port: int | None = None) -> Any:
    return SimpleNamespace(port=port, models=("loopback",), margin="auto", precision="auto", as_json=True)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The usual port, held by another program that was not there yet when it was looked for."""
    looks: list[int] = []

    def look(port: int) -> bool:
        looks.append(port)
        return len(looks) > 1 and port_in_use(port)

    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        monkeypatch.setattr(performance, "DEFAULT_PORT", port)
        monkeypatch.setattr(performance, "port_in_use", look)
        yield port


def test_the_usual_port_taken_in_the_same_moment(taken: int) -> None:
    with ExitStack() as stack:
        port, names = performance._server(options(), stack)
        assert port != taken and names == ["loopback"]
        assert (status_at(port) or {})["state"] == "ready"


def test_a_port_that_was_asked_for_is_not_replaced(taken: int) -> None:
    with ExitStack() as stack, pytest.raises(UserError, match=f"port {taken} is in use"):
        performance._server(options(taken), stack)
