"""For every test: prepared weights go into a folder of the run's own, not into the user's cache; a pack to play."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


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
