"""`rtserver live` from beginning to end: a server, an audio process, a screen, keys and MIDI."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtserver.bench.own_server import OwnServer, free_port, port_in_use, status_at
from rtserver.errors import UserError
from rtserver.latency import AUTO_MARGIN
from rtserver.live import screen, settings
from rtserver.live.audio_client import AudioProcess
from rtserver.live.controls import Controls, Instrument
from rtserver.live.keys import Keys

DEFAULT_PORT = 9000
SCREEN_SECONDS = 0.1
LINE_SECONDS, JSON_SECONDS = 5.0, 0.5


@dataclass(frozen=True)
class LiveOptions:
    """What the command line said. port None: a server of one's own, at the usual port if it is free."""

    models: tuple[str, ...] = ()
    source: str | None = None
    target: str | None = None
    rate_hz: int = 0
    block: int = 0
    channels: int = 1
    first_input: int = 0
    latency_ms: float | None = None
    margin: str = AUTO_MARGIN
    exclusive: bool = False
    guard: bool = True
    muted: bool | None = None
    gate_db: float | None = None
    midi: str | None = None
    midi_map: Path | None = None
    record: Path | None = None
    port: int | None = None
    precision: str = "auto"
    seconds: float | None = None
    as_json: bool = False

    def for_audio(self, port: int, instrument: Instrument) -> dict[str, Any]:
        """Settings of the audio process (`rtserver.live.player.Settings`)."""
        kept = settings.load()
        return {
            "port": port,
            "model": instrument.model,
            "decoder": instrument.decoder,
            "source": self.source,
            "target": self.target,
            "source_before": kept.get("input"),
            "target_before": kept.get("output"),
            "rate_hz": self.rate_hz,
            "block": self.block,
            "channels": self.channels,
            "first_input": self.first_input,
            "latency_ms": self.latency_ms,
            "margin": self.margin,
            "exclusive": self.exclusive,
            "guard": self.guard,
            "muted": self.muted,
            "parameters": {} if self.gate_db is None else {"gate_db": self.gate_db},
        }


def perform(options: LiveOptions) -> dict[str, Any]:
    """Play until the performer quits, `seconds` are over or a signal comes; what was played last, as `--json` tells it.

    Raises UserError when there is no device, no server, no such instrument.
    """
    with contextlib.ExitStack() as stack:
        port, models = _server(options, stack)
        instruments, first = _instruments(port, models)
        audio = AudioProcess(options.for_audio(port, instruments[first]))
        stack.callback(audio.close)
        settings.remember(input=audio.state["input"], output=audio.state["output"])
        controls = Controls(audio, instruments, first, str(options.record or "takes"))
        for model in {each.model for each in instruments if each.model != instruments[first].model}:
            audio.do("prepare", model=model)
        midi = None
        if options.midi:
            from rtserver.midi.player import MidiPlayer

            midi = stack.enter_context(MidiPlayer(options.midi, options.midi_map, controls))
        if options.record is not None:
            controls.record()
        _play(options, audio, controls, midi, port)
        return {**audio.state, "port": port, "restarts": audio.restarts}


def _server(options: LiveOptions, stack: contextlib.ExitStack) -> tuple[int, list[str]]:
    """A server's port and the names of the models that are wanted there."""
    if options.port is not None and (status_at(options.port) or {}).get("state"):
        names = [Path(model).stem if model.endswith(".pt") else model for model in options.models]
        return options.port, names
    if options.port is not None and port_in_use(options.port):
        raise UserError(f"port {options.port} is in use by another program; choose another --port")
    port = options.port or (free_port() if port_in_use(DEFAULT_PORT) else DEFAULT_PORT)
    wanted = options.models or ("piano",)

    def start(port: int) -> OwnServer:
        # Every session here names its own margin; this one is for others.
        margin = () if options.margin == AUTO_MARGIN else ("--margin", options.margin)
        own = OwnServer(wanted, port, arguments=(*margin, "--precision", options.precision))
        _say(options, f"starting rtserver on port {port}")
        return stack.enter_context(own)

    try:
        own = start(port)
    except UserError:
        if options.port is not None or not port_in_use(port):
            raise
        own = start(free_port())  # somebody took it in the same moment
    return own.port, [own.model_names[model] for model in wanted]


def _instruments(port: int, models: list[str]) -> tuple[list[Instrument], int]:
    """What can be played: the decoders of the wanted models, else of all that the server has. And the first of it."""
    served = {model["name"]: model.get("decoders") or [None] for model in (status_at(port) or {})["models"]}
    missing = [model for model in models if model not in served]
    if missing:
        raise UserError(f"the server has no {', '.join(missing)}; it serves {', '.join(served)}")
    names = models or [name for name, decoders in served.items() if decoders != [None]] or list(served)
    return [Instrument(name, decoder) for name in names for decoder in served[name]], 0


def _say(options: LiveOptions, text: str) -> None:
    if not options.as_json:
        print(text, file=sys.stderr, flush=True)


def _play(options: LiveOptions, audio: AudioProcess, controls: Controls, midi: Any, port: int) -> None:
    began = time.monotonic()

    def over() -> bool:
        return controls.quitting or (options.seconds is not None and time.monotonic() - began >= options.seconds)

    def look() -> None:
        audio.look()
        while not audio.refusals.empty():
            controls.say(audio.refusals.get())

    with Keys() as keys:
        if sys.stdout.isatty() and not options.as_json:
            _on_screen(audio, controls, midi, keys, look, over)
        else:
            _in_lines(options, audio, controls, midi, keys, look, over, port)


def _on_screen(
    audio: AudioProcess, controls: Controls, midi: Any, keys: Keys, look: Callable[[], None], over: Callable[[], bool]
) -> None:
    from rich.live import Live

    with Live(auto_refresh=False, screen=True) as live:
        while not over():
            for key in keys.wait(SCREEN_SECONDS):
                controls.key(key)
            look()
            live.update(screen.picture(audio.state, controls, midi.words if midi else None), refresh=True)


def _in_lines(
    options: LiveOptions,
    audio: AudioProcess,
    controls: Controls,
    midi: Any,
    keys: Keys,
    look: Callable[[], None],
    over: Callable[[], bool],
    port: int,
) -> None:
    """Status lines: now and then, and whenever something of consequence changes."""
    every = JSON_SECONDS if options.as_json else LINE_SECONDS
    told, before = 0.0, ""
    while not over():
        for key in keys.wait(SCREEN_SECONDS):
            controls.key(key)
        look()
        words, now = screen.headline(audio.state)[0] + controls.said, time.monotonic()
        if now - told < every and words == before:
            continue
        told, before = now, words
        if options.as_json:
            print(json.dumps(report(audio, controls, midi, port)), flush=True)
        else:
            print(screen.line(audio.state, controls) + (f"; {controls.said}" if controls.said else ""), flush=True)


def report(audio: AudioProcess, controls: Controls, midi: Any, port: int) -> dict[str, Any]:
    """A line of `--json`."""
    return {
        **audio.state,
        "port": port,
        "instruments": [dataclasses.asdict(each) for each in controls.instruments],
        "instrument": controls.current,
        "midi": midi.words if midi else None,
        "said": controls.said,
        "restarts": audio.restarts,
    }
