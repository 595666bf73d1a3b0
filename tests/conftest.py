"""For every test: prepared weights go into a folder of the run's own, not into the user's cache; a pack to play."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs import ahead, build


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = ahead.in_order(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    process = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if process == "gw0" and not session.config.option.collectonly:
        ahead.begin(session.items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.two_turns import TwoTurns

    config.option.loadscopereorder = False
    return TwoTurns(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    ahead.wait(item)  # before the clock of its timeout runs
    return (yield)


def pytest_unconfigure() -> None:
    build.end()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache") / "prepared"
    before = os.environ.get("RTSERVER_CACHE")
    os.environ["RTSERVER_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["RTSERVER_CACHE"]
    else:
        os.environ["RTSERVER_CACHE"] = before


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with the decoders piano and strings, many times faster than real time."""
    from tests.server.harness import save_tiny_pack

    path = tmp_path_factory.mktemp("pack") / "tiny.pt"
    save_tiny_pack(path)
    return path
