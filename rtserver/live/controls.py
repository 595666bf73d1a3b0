"""Everything that keys and MIDI can do, in one place: `rtserver live`'s actions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from rtserver import osc
from rtserver.live.audio_client import AudioProcess

MIX_STEP, GAIN_STEP_DB, GATE_STEP_DB = 0.05, 1.0, 3.0


@dataclasses.dataclass(frozen=True)
class Instrument:
    """A model of the server, and which of its decoders plays (None: a probe)."""

    model: str
    decoder: str | None

    @property
    def name(self) -> str:
        return self.decoder or self.model


class Controls:
    """What a performer can change. `said` is the newest thing worth telling, until it is old."""

    def __init__(self, audio: AudioProcess, instruments: list[Instrument], current: int, takes: str) -> None:
        self._audio = audio
        self.instruments = instruments
        self.current = current
        self._takes = takes
        self._recording = False
        self._said, self._said_at = "", 0.0
        self.learn: Callable[[], str] | None = None  # what the key for learning calls
        self.quitting = False

    def say(self, text: str) -> None:
        self._said, self._said_at = text, time.monotonic()

    @property
    def said(self) -> str:
        return self._said if time.monotonic() - self._said_at < 6.0 else ""

    def value(self, name: str) -> float:
        """A parameter's value as last set, or as the session has it."""
        kept = self._audio.state.get("parameters", {})
        return float(self._set_values.get(name, kept.get(name, osc.DEFAULTS.get(name, 0.0))))

    @property
    def _set_values(self) -> dict[str, Any]:
        values: dict[str, Any] = self._audio.settings.get("parameters", {})
        return values

    def set(self, name: str, value: float) -> None:
        """Set a parameter, kept within its range."""
        argument = osc.PARAMETERS[name]
        low = argument.low if argument.low is not None else value
        high = argument.high if argument.high is not None else value
        value = min(max(value, low), high)
        self._audio.do("set", name=name, value=value)
        self.say(f"{name.replace('_', ' ')} {value:g}{' ' + argument.unit if argument.unit else ''}")

    def change(self, name: str, by: float) -> None:
        self.set(name, round(self.value(name) + by, 4))

    def mute(self, on: bool | None = None) -> None:
        """Mute or not; None turns it over."""
        on = not self._audio.state.get("muted", False) if on is None else on
        self._audio.do("mute", on=on)
        self._audio.state["muted"] = on
        self.say("muted" if on else "on air")

    def panic(self) -> None:
        self._audio.do("panic")
        self.say("panic: silent, and begun anew")

    def select(self, index: int) -> None:
        """Play an instrument by its place in the list; a place that doesn't exist is said and ignored."""
        if not 0 <= index < len(self.instruments):
            self.say(f"no instrument {index + 1}; there are {len(self.instruments)}")
            return
        self.current = index
        chosen = self.instruments[index]
        self._audio.do("play", model=chosen.model, decoder=chosen.decoder)
        self.say(chosen.name)

    def step(self, by: int) -> None:
        self.select((self.current + by) % len(self.instruments))

    def record(self) -> None:
        """Begin a take, or end it."""
        self._recording = not self._recording
        self._audio.do("record", folder=self._takes if self._recording else None)
        self.say(f"recording into {self._takes}" if self._recording else "recorded")

    def key(self, key: str) -> None:
        """What a key of the computer's keyboard does; `KEYS` lists them."""
        if key.isdecimal() and key != "0":
            self.select(int(key) - 1)
            return
        actions: dict[str, Callable[[], None]] = {
            "m": self.mute,
            "p": self.panic,
            " ": self.panic,
            "n": lambda: self.step(1),
            "right": lambda: self.step(1),
            "b": lambda: self.step(-1),
            "left": lambda: self.step(-1),
            "+": lambda: self.change("mix", MIX_STEP),
            "=": lambda: self.change("mix", MIX_STEP),
            "-": lambda: self.change("mix", -MIX_STEP),
            "up": lambda: self.change("output_gain_db", GAIN_STEP_DB),
            "down": lambda: self.change("output_gain_db", -GAIN_STEP_DB),
            "]": lambda: self.change("input_gain_db", GAIN_STEP_DB),
            "[": lambda: self.change("input_gain_db", -GAIN_STEP_DB),
            ">": lambda: self.change("gate_db", GATE_STEP_DB),
            "<": lambda: self.change("gate_db", -GATE_STEP_DB),
            "t": lambda: self.change("temperature", 0.1),
            "T": lambda: self.change("temperature", -0.1),
            "d": lambda: self.set("bypass", 0.0 if self.value("bypass") else 1.0),
            "r": self.record,
            "l": self._learn,
            "q": self._quit,
        }
        action = actions.get(key)
        if action is not None:
            action()

    def _learn(self) -> None:
        self.say(self.learn() if self.learn is not None else "no MIDI port is open: start with --midi")

    def _quit(self) -> None:
        self.quitting = True


KEYS = (
    ("m", "mute"),
    ("p space", "panic"),
    ("n b", "next, previous"),
    ("1-9", "instrument"),
    ("+ -", "mix"),
    ("up down", "output gain"),
    ("] [", "input gain"),
    ("> <", "gate"),
    ("t T", "temperature"),
    ("d", "dry"),
    ("r", "record"),
    ("l", "learn"),
    ("q", "quit"),
)
