"""`python -m tests.dashboard.pictures`: the dashboard's pictures in docs/pictures, of a server that plays.

The demo's whistle goes through the shipped piano; pictures are taken on a desktop and as on a phone.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from rtserver import _engine
from rtserver.client import Bridge
from rtserver.demo.clip import melody
from tests.dashboard.browser import Browser
from tests.server.harness import ROOT, ServerProcess

PICTURES = ROOT / "docs" / "pictures"
RATE_HZ, BLOCK_FRAMES = 48000, 128
PLAY_SECONDS = 40.0
SCROLLED_SECONDS = 21.0  # until the spectrograms are full


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"XDG_DATA_HOME": str(folder / "data")}
        server = ServerProcess(folder / "log", "--model", "piano.pt", environment=environment).wait_ready()
        browser = Browser(folder)
        try:
            with (
                Bridge(server.port, RATE_HZ, BLOCK_FRAMES) as piano,
                Bridge(server.port, RATE_HZ, BLOCK_FRAMES) as probe,
            ):
                playing = [threading.Thread(target=play, args=(bridge,), daemon=True) for bridge in (piano, probe)]
                for thread in playing:
                    thread.start()
                piano.set("mix", 0.8)
                piano.set("gate_db", -60.0)
                take(browser, server.port)
        finally:
            browser.close()
            server.stop()


def play(bridge: Bridge) -> None:
    """The demo's whistle, over and over, at a sound card's pace."""
    sound = np.resize(melody(RATE_HZ), int(PLAY_SECONDS * RATE_HZ))
    _engine.BlockDriver().run(bridge.native, sound, BLOCK_FRAMES, RATE_HZ)


def take(browser: Browser, port: int) -> None:
    browser.open(f"http://127.0.0.1:{port}/")
    browser.find("[data-session][aria-current='true']")
    browser.type("#preset-name", "evening set")
    browser.click("#preset-form button")
    browser.find("[aria-label='Recall evening set']")
    time.sleep(SCROLLED_SECONDS)
    for name, width, height, phone in (("dashboard", 1400, 1120, False), ("dashboard-phone", 390, 844, True)):
        browser.shown_as(width, height, phone=phone)
        browser.run("window.scrollTo(0, 0)")
        time.sleep(1.0)
        browser.picture(PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
