"""Open for long: neither the server nor the page grows. Seconds in the suite, an hour by `make dashboard-soak`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.dashboard import browser as chromium
from tests.dashboard.browser import Browser
from tests.dashboard.page import connected
from tests.dashboard.player import Player
from tests.server.harness import ServerProcess, eventually

MINUTES = float(os.environ.get("RTSERVER_DASHBOARD_MINUTES", "0.06"))
SERVER_GROWTH_MB = 4.0  # after it has settled
PAGE_GROWTH_MB = 2.0

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc"),
    pytest.mark.timeout(60 * MINUTES * 1.5 + 300),
]


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def visit(port: int, session: int) -> None:
    """A page that comes, looks, asks and leaves."""
    async with connected(port) as page:
        await page.ask("watch", session=session)
        await page.ask("files")
        await page.ask("set", session=session, name="mix", value=0.5)
        await page.next("meters")


def test_pages_that_come_and_go_leave_nothing_in_the_server(server: ServerProcess) -> None:
    with Player(server.port) as player:

        def visits(seconds: float) -> int:
            until, count = time.monotonic() + seconds, 0
            while time.monotonic() < until:
                asyncio.run(visit(server.port, player.session))
                count += 1
            return count

        visits(max(2.0, 6.0 * MINUTES))  # numpy, caches, buffers: then it has settled
        before_mb, before_files = resident_mb(server.pid), open_files(server.pid)
        count = visits(30.0 * MINUTES)
        grown_mb = resident_mb(server.pid) - before_mb
        print(f"{count} visits: the control process grew from {before_mb:.1f} MB by {grown_mb:.2f} MB")
        assert count >= 3 and grown_mb < SERVER_GROWTH_MB
        eventually(lambda: open_files(server.pid) <= before_files, "sockets are closed")


@pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing())
def test_a_page_that_stays_open_does_not_grow(server: ServerProcess, browser: Browser) -> None:
    with Player(server.port):
        browser.open(f"http://127.0.0.1:{server.port}/")
        browser.find("[data-session][aria-current='true']")
        browser.tell("Performance.enable")

        def held() -> tuple[float, int, int]:
            browser.tell("HeapProfiler.collectGarbage")
            found = {entry["name"]: entry["value"] for entry in browser.tell("Performance.getMetrics")["metrics"]}
            return found["JSHeapUsedSize"] / 2**20, int(found["Nodes"]), int(found["JSEventListeners"])

        def measured() -> tuple[float, ...]:
            """The least of some: between collecting and counting the page goes on, and a leak raises the least too."""
            return tuple(map(min, zip(*(held() for _ in range(5)), strict=True)))

        eventually(lambda: " of 10 ms" in browser.text("#compute-sum"), "a page that shows everything")
        time.sleep(max(1.0, 3.0 * MINUTES))
        heap_mb, nodes, listeners = measured()
        time.sleep(27.0 * MINUTES)
        later_mb, later_nodes, later_listeners = measured()
        grown_mb = later_mb - heap_mb
        print(f"the page grew from {heap_mb:.1f} MB by {grown_mb:.2f} MB, {nodes} nodes by {later_nodes - nodes}")
        assert grown_mb < PAGE_GROWTH_MB
        assert later_nodes <= nodes + 50 and later_listeners <= listeners + 5
