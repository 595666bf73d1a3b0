"""A real browser without a screen: Chromium by its driver, in the W3C's WebDriver protocol (JSON over HTTP)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.server.harness import eventually

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name of a reference in the protocol
NOT_YET = ("element not interactable", "stale element reference")  # a person would wait
KEYS = {"ArrowUp": "\ue013", "ArrowDown": "\ue015", "End": "\ue010", "Home": "\ue011", "Escape": "\ue00c"}


def missing() -> str:
    """What is not there for these tests; "" if nothing."""
    lacking = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    return f"needs {' and '.join(lacking)}" if lacking else ""


class Browser:
    """One window."""

    def __init__(self, folder: Path, width: int = 1400, height: int = 1000) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._root = f"http://127.0.0.1:{port}"
        self._log = (folder / "chromedriver.log").open("w")
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the browser's processes end with it
            env={**os.environ, "HOME": str(folder)},
        )
        self._session = ""
        try:
            eventually(self._ready, "the driver answers")
            arguments = [*FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"]
            preferences = {"download.default_directory": str(folder), "download.prompt_for_download": False}
            options = {"binary": shutil.which("chromium"), "args": arguments, "prefs": preferences}
            wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
            made = self._ask("POST", "/session", {"capabilities": wanted})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        try:
            if self._session:
                self._ask("DELETE", self._session)
        except OSError:
            pass
        finally:
            if self._driver.poll() is None:
                os.killpg(self._driver.pid, signal.SIGKILL)
            self._driver.wait()
            self._log.close()

    def _ready(self) -> bool:
        assert self._driver.poll() is None, "chromedriver ended"
        try:
            return bool(self._ask("GET", "/status")["ready"])
        except OSError:
            return False

    def _ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:500]}") from None

    # --- what a person does ---

    def open(self, address: str) -> None:
        self._ask("POST", f"{self._session}/url", {"url": address})

    def find(self, selector: str) -> str:
        """The one element of a CSS selector, waited for."""
        what = {"using": "css selector", "value": selector}

        def there() -> Any:
            return self._ask("POST", f"{self._session}/elements", what)

        return str(eventually(there, selector)[0][ELEMENT])

    def _act(self, selector: str, action: str, content: dict[str, Any]) -> None:
        """Do something to an element, as soon as it can be reached."""

        def done() -> bool:
            try:
                self._ask("POST", f"{self._session}/element/{self.find(selector)}/{action}", content)
            except AssertionError as error:
                if any(reason in str(error) for reason in NOT_YET):
                    return False
                raise
            return True

        eventually(done, f"{action} of {selector}")

    def click(self, selector: str) -> None:
        self._act(selector, "click", {})

    def type(self, selector: str, text: str) -> None:
        """Keys into an element; names of KEYS stand for themselves."""
        self._act(selector, "value", {"text": KEYS.get(text, text)})

    def drag(self, selector: str, down_px: int) -> None:
        """Press the mouse on an element, move it, let go."""
        origin = {ELEMENT: self.find(selector)}
        steps = [
            {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "duration": 100, "x": 0, "y": down_px, "origin": "pointer"},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self._ask("POST", f"{self._session}/actions", {"actions": [mouse]})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """What an element shows; found and read in one step, since the page may replace it at any time."""
        self.find(selector)
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def attribute(self, selector: str, name: str) -> str:
        return str(self._ask("GET", f"{self._session}/element/{self.find(selector)}/attribute/{name}"))

    def accept(self) -> None:
        """Say yes to the question that the page asks."""
        self._ask("POST", f"{self._session}/alert/accept", {})

    # --- what a person sees ---

    def shown_as(self, width: int, height: int, phone: bool) -> None:
        """The size of the page; a phone's has a touch screen and two pixels a point."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.tell("Emulation.setDeviceMetricsOverride", **size)

    def tell(self, command: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._ask("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def picture(self, path: Path, whole: bool = False) -> None:
        taken = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def complaints(self) -> list[str]:
        """Errors in the page's console so far; asked for once each."""
        entries = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
