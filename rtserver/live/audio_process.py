"""The audio process of `rtserver live`: a player, told what to do in JSON lines on standard input, telling what it does
in JSON lines on standard output. It ends when its input does.

First line in: the settings. Then {"do": "mute" | "panic" | "set" | "play" | "prepare" | "record" | "quit", ...}.
Out: {"is": "open"} once, {"is": "state", ...} ten times a second, {"is": "refused", "why"} for what could not be done,
{"is": "over", "why"} last.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, TextIO

from rtserver.errors import UserError
from rtserver.live import devices
from rtserver.live.player import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Player, Settings

LOOK_SECONDS = 0.05
TELL_SECONDS = 0.1


class Teller:
    """Lines to the other process. Its end is silence, not an error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, **what: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._stream.write(json.dumps(what) + "\n")
            self._stream.flush()


def main() -> None:
    # Libraries below PortAudio print to standard output; the lines go to a descriptor of their own.
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the other process says when
    teller = Teller(lines)
    settings = Settings(**json.loads(sys.stdin.readline()))
    try:
        player = _wait_for_devices(settings, teller) if settings.patient else Player(settings)
    except UserError as error:
        teller.tell(**{"is": "over", "why": str(error), "code": error.exit_code})
        return
    player.on_lost = lambda why: teller.tell(**{"is": "lost", "why": why})
    gc.collect()
    gc.freeze()
    teller.tell(**{"is": "open", **player.state()})
    commands: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(player, commands), daemon=True).start()
    try:
        _run(player, commands, teller)
    finally:
        player.close()
    teller.tell(**{"is": "over", "why": None})


def _wait_for_devices(settings: Settings, teller: Teller) -> Player:
    """Try until it plays. Whoever waits ends this process if that takes too long."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return Player(settings)
        except UserError as error:
            teller.tell(**{"is": "waiting", "why": str(error)})
        if os.getppid() == 1:  # nobody waits any more
            raise SystemExit
        time.sleep(pause)
        pause = min(2.0 * pause, LONGEST_PAUSE_SECONDS)
        devices.rescan()


def _listen(player: Player, commands: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    """What can't wait for another command to be done is done here."""
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "panic":
            player.panic()
        elif command["do"] == "mute":
            player.mute(bool(command["on"]))
        else:
            commands.put(command)
    commands.put(None)


def _run(player: Player, commands: queue.SimpleQueue[dict[str, Any] | None], teller: Teller) -> None:
    told = 0.0
    while True:
        try:
            command = commands.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            pass
        else:
            if command is None or command["do"] == "quit":
                return
            try:
                _obey(player, command)
            except (UserError, ValueError, OSError, RuntimeError) as error:
                teller.tell(**{"is": "refused", "why": str(error)})
        try:
            player.look()
        except UserError as error:
            teller.tell(**{"is": "refused", "why": str(error)})
            player.record(None)
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            teller.tell(**{"is": "state", **player.state()})


def _obey(player: Player, command: dict[str, Any]) -> None:
    match command["do"]:
        case "set":
            player.set(command["name"], command["value"])
        case "play":
            player.play(command["model"], command.get("decoder"))
        case "prepare":
            player.prepare(command["model"])
        case "record":
            player.record(command["folder"])


if __name__ == "__main__":
    main()
