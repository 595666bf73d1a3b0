"""Which tests bear company, and what they compile, built while those run with the processors that they leave idle.

What can't be built is told by the tests that want it, and by no others.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable

import pytest

from tests.programs.build import Build, build
from tests.programs.variants import BY_FIXTURE

# What judges neither when something is heard nor what it costs runs beside others, the longest first.
SERVER = (
    *("startup", "cli_demo", "cli_doctor", "cli_help", "refusals", "remote", "automation", "blend", "info", "models"),
    *("precision", "prepared", "threads", "translate"),
)
PLUGIN = ("bounce", "formats", "latency_twin", "sanitized", "settings", "state")
COMPANY = (
    "tests/training/",
    *(f"tests/server/test_{name}.py" for name in SERVER),
    *("tests/parity/", "tests/streaming/", "tests/wire/", "tests/cuda/"),
    *(f"tests/plugin/test_{name}.py" for name in PLUGIN),
)
# All else has the machine to itself; last what leaves servers and a browser running until the end.
ALONE = ("tests/server/", "tests/realtime/", "tests/plugin/", "tests/live/", "tests/hosts/", "tests/dashboard/")

_begun: list[Build] = []


def bears_company(name: str) -> bool:
    """name: of a test or its file, from the folder of the project."""
    return name.startswith(COMPANY)


def wanted(item: pytest.Item) -> list[Build]:
    """What a test's fixtures build."""
    if item.get_closest_marker("skip"):
        return []
    return [one for name in getattr(item, "fixturenames", ()) for one in BY_FIXTURE.get(name, ())]


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """What bears company and needs no program, then what bears company, then the rest; files stay together."""
    building = {item.path for item in items if wanted(item)}

    def turn(item: pytest.Item) -> tuple[bool, bool, int]:
        company = bears_company(item.nodeid)
        places = COMPANY if company else ALONE
        place = next((at for at, start in enumerate(places) if item.nodeid.startswith(start)), len(places))
        return not company, company and item.path in building, place

    return sorted(items, key=turn)


def begin(items: Iterable[pytest.Item]) -> None:
    """Build what these want, in their order."""
    _begun.extend(dict.fromkeys(one for item in items for one in wanted(item)))

    def run() -> None:
        for one in _begun:
            with contextlib.suppress(AssertionError):
                build(one, idle=True)

    threading.Thread(target=run, daemon=True).start()


def wait(item: pytest.Item) -> None:
    """Until what this test wants is built, or everything if it doesn't bear company."""
    for one in wanted(item) if bears_company(item.nodeid) else _begun:
        with contextlib.suppress(AssertionError):
            build(one)
