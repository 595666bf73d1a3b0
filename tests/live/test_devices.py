"""Picking a device by number, name or part of it; and what is said when that can't be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtserver.errors import UserError
from rtserver.live import devices, settings
from rtserver.live.devices import Device, built_in_pair, pick
from rtserver.live.driver import Wanted


def device(number: int, name: str, inputs: int, outputs: int, api: str = "ALSA", default: bool = False) -> Device:
    return Device(
        number, name, api, inputs, outputs, 48000, 0.005, 0.005, default and inputs > 0, default and outputs > 0
    )


DEVICES = [
    device(0, "HDA Intel PCH: ALC257 Analog (hw:0,0)", 2, 2),
    device(1, "Scarlett 2i2 USB: Audio (hw:1,0)", 2, 2, default=True),
    device(2, "Scarlett 2i2 4th Gen", 4, 2),
    device(3, "HDMI 0", 0, 8),
    device(4, "system", 2, 2, "JACK Audio Connection Kit"),
]


@pytest.mark.parametrize(
    "direction, wanted, number",
    [
        ("input", None, 1),
        ("output", "3", 3),
        ("input", "alc257", 0),
        ("input", "Scarlett 2i2 4th gen", 2),
        ("output", "system (JACK Audio Connection Kit)", 4),
    ],
)
def test_picked(direction: devices.Direction, wanted: str | None, number: int) -> None:
    assert pick(DEVICES, direction, wanted).number == number


@pytest.mark.parametrize(
    "source, target, exclusive, even",
    [
        (DEVICES[4], DEVICES[4], False, True),
        (DEVICES[0], DEVICES[1], False, True),
        (device(5, "pulse", 32, 32), device(5, "pulse", 32, 32), False, False),
        (DEVICES[1], device(6, "default", 0, 2), False, False),
        (device(7, "Mic", 1, 0, "Windows WASAPI"), device(8, "Phones", 0, 2, "Windows WASAPI"), False, False),
        (device(7, "Mic", 1, 0, "Windows WASAPI"), device(8, "Phones", 0, 2, "Windows WASAPI"), True, True),
        (device(9, "Mic", 1, 0, "MME"), device(10, "Phones", 0, 2, "MME"), True, False),
    ],
)
def test_drivers_that_call_evenly(source: Device, target: Device, exclusive: bool, even: bool) -> None:
    assert Wanted(source, target, 48000, 0, 1, 2, exclusive=exclusive).even is even


@pytest.mark.parametrize(
    "direction, wanted, words",
    [
        ("input", "hdmi", "no input device is called 'hdmi'; there is"),
        ("input", "scarlet 2i2 4th", "Scarlett 2i2 4th Gen"),
        ("output", "Scarlett", "give more of the name, or the number"),
        ("input", "3", "no input device has the number 3"),
    ],
)
def test_not_picked(direction: devices.Direction, wanted: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        pick(DEVICES, direction, wanted)


def test_no_device_at_all_says_what_to_do() -> None:
    with pytest.raises(UserError, match="no microphone or other input was found: plug one in"):
        pick([], "input", None)


@pytest.mark.parametrize(
    "source, target, pair",
    [
        ("MacBook Pro Microphone", "MacBook Pro Speakers", True),
        ("Microphone Array (Realtek(R) Audio)", "Speakers (Realtek(R) Audio)", True),
        ("HDA Intel PCH: ALC257 Analog (hw:0,0)", "HDA Intel PCH: ALC257 Analog (hw:0,0)", True),
        ("MacBook Pro Microphone", "External Headphones", False),
        ("Scarlett 2i2 USB", "MacBook Pro Speakers", False),
        ("Microphone Array (Realtek(R) Audio)", "Headphones (Realtek(R) Audio)", False),
    ],
)
def test_the_built_in_pair_is_known(source: str, target: str, pair: bool) -> None:
    assert built_in_pair(device(0, source, 2, 0), device(1, target, 0, 2)) is pair


def test_choices_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.VARIABLE, str(tmp_path / "new"))
    assert settings.load() == {}
    settings.remember(input="a")
    settings.remember(output="b")
    assert settings.load() == {"input": "a", "output": "b"}
    (tmp_path / "new" / "live.json").write_text("[")
    assert settings.load() == {}


def test_a_machine_without_sound_is_told_so(tmp_path: Path) -> None:
    """The commands end with one line, not with a trace; the list is empty, not an error."""
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))  # type: ignore[arg-type]
    silent = {"HOME": str(tmp_path), "JACK_NO_START_SERVER": "1", "JACK_DEFAULT_SERVER": f"none-{os.getpid()}"}
    environment = {**os.environ, **silent, "RTSERVER_CONFIG": str(tmp_path)}
    listing = subprocess.run(
        [sys.executable, "-m", "rtserver", "devices", "--json"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert listing.returncode == 0, listing.stderr
    if json.loads(listing.stdout)["devices"]:
        pytest.skip("this machine has a sound card")
    command = [sys.executable, "-m", "rtserver.live.audio_process"]
    told = subprocess.run(
        command, input='{"port": 1}\n', env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    last = json.loads(told.stdout.splitlines()[-1])
    assert last["is"] == "over" and "was found: plug one in" in last["why"]
