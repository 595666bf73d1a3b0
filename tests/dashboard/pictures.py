"""`python -m tests.dashboard.pictures`: the dashboard's pictures in docs/pictures, of a server that plays.

The demo's whistle goes through the shipped piano; pictures are taken on a desktop and as on a phone.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rtserver.demo.clip import melody
from tests.dashboard.browser import Browser
from tests.dashboard.player import RATE_HZ, Player
from tests.server.harness import ROOT, ServerProcess

PICTURES = ROOT / "docs" / "pictures"
PLAY_SECONDS = 14.0


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"XDG_DATA_HOME": str(folder / "data")}
        server = ServerProcess(folder / "log", "--model", "piano.pt", environment=environment).wait_ready()
        browser = Browser(folder)
        try:
            sound = melody(RATE_HZ)
            with Player(server.port, sound) as player, Player(server.port, sound, model="identity16k"):
                player.bridge.set("mix", 0.8)
                player.bridge.set("gate_db", -60.0)
                browser.open(f"http://127.0.0.1:{server.port}/")
                browser.type("#preset-name", "evening set")
                browser.click("#preset-form button")
                browser.find("[aria-label='Recall evening set']")
                time.sleep(PLAY_SECONDS)
                browser.shown_as(1400, 900, phone=False)
                time.sleep(5.0)
                browser.picture(PICTURES / "dashboard.png")
                browser.shown_as(390, 844, phone=True)
                browser.run("window.scrollTo(0, 0)")
                time.sleep(1.0)
                browser.picture(PICTURES / "dashboard-phone.png")
        finally:
            browser.close()
            server.stop()


if __name__ == "__main__":
    main()
