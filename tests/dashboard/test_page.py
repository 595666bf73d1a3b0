"""The page in a real browser, by keyboard, mouse and files: every control does to the server what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard import browser as chromium
from tests.dashboard.browser import Browser
from tests.dashboard.conftest import KEY
from tests.dashboard.player import Player, sine
from tests.server.harness import ServerProcess, eventually

pytestmark = pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing())


@pytest.fixture(scope="module")
def playing(server: ServerProcess) -> Iterator[tuple[ServerProcess, Player]]:
    """A server, and a client that plays a tone through its instrument."""
    with Player(server.port, sine(440.0)) as player:
        yield server, player


@pytest.fixture
def opened(browser: Browser, playing: tuple[ServerProcess, Player]) -> Browser:
    """The page, showing the session."""
    browser.open(f"http://127.0.0.1:{playing[0].port}/")
    eventually(lambda: browser.run("return document.getElementById('server').className") == "good", "a page that lives")
    browser.find(f"[data-session='{playing[1].session}'][aria-current='true']")
    return browser


def parameters(server: ServerProcess, player: Player) -> dict[str, Any]:
    known = server.status()["sessions"]
    return next(session["parameters"] for session in known if session["session"] == player.session)


def test_meters_move_and_the_figures_are_the_servers(opened: Browser, playing: tuple[ServerProcess, Player]) -> None:
    eventually(lambda: opened.text("#note") == "A4", "the pitch of the tone")
    eventually(lambda: opened.text(".scope output").startswith("-12."), "the level of the tone")
    picture = "return [...document.querySelectorAll('canvas')].map((c) => c.toDataURL())"
    before = opened.run(picture)
    eventually(lambda: all(a != b for a, b in zip(before, opened.run(picture), strict=True)), "spectrograms scroll")
    latency = playing[0].status()["sessions"][0]["latency_frames"]
    assert opened.text("#latency-sum").endswith(f"{latency['reported']} frames")
    assert {"block", "hop", "margin"} <= set(opened.text("#latency ul").split())
    eventually(lambda: " of 10 ms" in opened.text("#compute-sum"), "compute time against its budget")
    assert "decoder" in opened.text("#queues") and "starting" in opened.text("#misses")
    assert opened.complaints() == []


def test_every_knob_turns_by_keys_and_by_mouse(opened: Browser, playing: tuple[ServerProcess, Player]) -> None:
    knobs = opened.run("return [...document.querySelectorAll('[role=slider]')].map((k) => k.dataset.parameter)")
    knobs.remove("blend")
    assert knobs == ["mix", "output_gain_db", "input_gain_db", "gate_db", "temperature"]
    for name in knobs:
        knob = f"[data-parameter={name}]"
        low, high = (float(opened.attribute(knob, f"aria-value{end}")) for end in ("min", "max"))
        opened.type(knob, "Home")
        eventually(lambda name=name, low=low: parameters(*playing)[name] == low, f"{name} at its lowest")
        opened.type(knob, "ArrowUp")
        eventually(lambda name=name, low=low: low < parameters(*playing)[name] < low + 1, f"{name} a step higher")
        opened.drag(knob, -400)
        eventually(lambda name=name, high=high: parameters(*playing)[name] == high, f"{name} at its highest")
        assert opened.attribute(knob, "aria-label") and opened.attribute(knob, "aria-valuetext")
    playing[1].bridge.set("mix", 0.5)  # somebody else turns it
    eventually(lambda: opened.attribute("[data-parameter=mix]", "aria-valuenow") == "0.5", "the knob follows")


def test_instruments_fallback_seed_and_comparison(opened: Browser, playing: tuple[ServerProcess, Player]) -> None:
    opened.click("#instruments input[value=strings]")
    eventually(lambda: parameters(*playing)["decoder"] == "strings", "the other instrument")
    opened.type("select[data-parameter=fallback]", "silence")
    eventually(lambda: parameters(*playing)["fallback"] == "silence", "silence")
    opened.run(
        "const seed = document.querySelector('[data-parameter=seed]');"
        "seed.value = 42; seed.dispatchEvent(new Event('change'))"
    )
    eventually(lambda: parameters(*playing)["seed"] == 42, "the seed")
    opened.click("#dry")
    eventually(lambda: parameters(*playing)["bypass"] == 1, "dry")
    opened.type("body", "b")
    eventually(lambda: parameters(*playing)["bypass"] == 0, "and the translation again, by a key")
    assert opened.attribute("#wet", "aria-pressed") == "true"


def test_two_sessions_are_blended_by_a_knob(opened: Browser, playing: tuple[ServerProcess, Player]) -> None:
    server, player = playing
    with Player(server.port, sine(660.0)) as other:
        eventually(lambda: not opened.run("return document.getElementById('blend').hidden"), "a second source")
        opened.type("[data-parameter=blend]", "End")

        def blend() -> dict[str, Any]:
            known = server.status()["sessions"]
            return next(session["blend"] for session in known if session["session"] == player.session)

        eventually(lambda: blend() == {"amount": 1.0, "source": other.session}, "the other session's latents")
        opened.type("[data-parameter=blend]", "Home")
        eventually(lambda: blend() == {"amount": 0.0, "source": None}, "none of them")


@pytest.mark.parametrize("way", ["#panic", "#panic-session", "Escape"])
def test_panic_starts_the_stream_anew(opened: Browser, playing: tuple[ServerProcess, Player], way: str) -> None:
    epochs = playing[1].bridge.stats()["epochs"]
    if way == "Escape":
        opened.type("body", way)
    else:
        opened.click(way)
    eventually(lambda: playing[1].bridge.stats()["epochs"] == epochs + 1, "a new epoch")


def test_presets_by_name_and_by_file(
    opened: Browser, playing: tuple[ServerProcess, Player], tmp_path: Path, browser: Browser
) -> None:
    playing[1].bridge.set("mix", 0.75)
    opened.type("#preset-name", "bright")
    opened.click("#preset-form button")
    opened.find("[aria-label='Recall bright']")
    playing[1].bridge.set("mix", 0.1)
    opened.click("[aria-label='Recall bright']")
    eventually(lambda: parameters(*playing)["mix"] == 0.75, "the preset's mix")
    shared = tmp_path / "shared.json"
    preset = {"format": "rtserver-preset-1", "name": "from a friend", "parameters": {"mix": 0.3}}
    shared.write_text(json.dumps(preset))
    opened.type("#preset-file", str(shared))
    opened.click("[aria-label='Recall from a friend']")
    eventually(lambda: parameters(*playing)["mix"] == pytest.approx(0.3), "the friend's mix")
    shared.write_text(json.dumps({**preset, "parameters": {"mix": 30}}))
    opened.type("#preset-file", str(shared))
    eventually(lambda: "must be 0 to 1" in opened.text("#toast"), "why a file is no preset")
    opened.click("[aria-label='Delete from a friend']")
    opened.accept()
    gone = "return !document.querySelector(\"[aria-label='Recall from a friend']\")"
    eventually(lambda: opened.run(gone), "the preset is gone")


def test_a_pack_is_loaded_from_the_list(
    opened: Browser, playing: tuple[ServerProcess, Player], data_folder: Path
) -> None:
    packs = data_folder / "rtserver" / "models"
    (packs / "second.pt").write_bytes((packs / "tiny.pt").read_bytes())
    opened.run("document.getElementById('load-file').blur()")
    opened.click("#load-file")
    choose = (
        "const list = document.getElementById('load-file');"
        "const option = [...list.options].find((known) => known.text.startsWith('second.pt'));"
        "if (option) list.value = option.value; return Boolean(option)"
    )
    eventually(lambda: opened.run(choose), "the new file is listed")
    opened.click("#load-form button")
    opened.click("[aria-label='Use second for new sessions']")
    eventually(lambda: playing[0].status()["default_model"] == "second", "the new model is played")
    opened.click("[aria-label='Use tiny for new sessions']")
    assert "second" in {model["name"] for model in playing[0].status()["models"]}


def test_everything_can_be_reached_by_keyboard_and_has_a_name(opened: Browser) -> None:
    nameless = opened.run(
        "return [...document.querySelectorAll('button, input, select, [tabindex]')].filter((e) => "
        "!(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map((e) => e.outerHTML)"
    )
    assert nameless == []
    unreachable = opened.run("return [...document.querySelectorAll('[tabindex]')].some((e) => e.tabIndex < 0)")
    assert not unreachable


def test_a_phone_gets_one_column_and_nothing_wider_than_its_screen(opened: Browser) -> None:
    opened.shown_as(390, 844, phone=True)
    try:
        wider = "return document.documentElement.scrollWidth - window.innerWidth"
        assert opened.run(wider) <= 0
        small = opened.run(
            "return [...document.querySelectorAll('button, select, [role=slider]')].filter((e) => e.offsetParent && "
            "e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)"
        )
        assert small == []
    finally:
        opened.tell("Emulation.clearDeviceMetricsOverride")


def test_the_page_comes_back_with_the_server_and_its_presets(
    browser: Browser, start: Callable[..., ServerProcess]
) -> None:
    server = start("--model", "loopback")
    browser.open(f"http://127.0.0.1:{server.port}/")
    eventually(lambda: "no session" in browser.text("#empty").lower(), "a page without sessions")
    server.stop()
    eventually(lambda: "no server" in browser.text("#server"), "the page says so")
    again = start("--model", "loopback", port=server.port)
    with Player(again.port, model="loopback"):
        browser.find("[data-session='1'][aria-current='true']")
        browser.find("[aria-label='Recall bright']")


def test_with_a_key_the_page_asks_for_it(browser: Browser, keyed: ServerProcess) -> None:
    browser.open(f"http://127.0.0.1:{keyed.port}/")
    browser.type("#key", "wrong")
    browser.click("#key-form button")
    eventually(lambda: "not the key" in browser.text("#key-text"), "a wrong key is told")
    browser.type("#key", KEY)
    browser.click("#key-form button")
    eventually(lambda: browser.run("return document.getElementById('server').className") == "good", "let in")
