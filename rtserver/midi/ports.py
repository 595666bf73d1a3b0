"""Where MIDI comes from: a port of the system (python-rtmidi), a virtual one, or mido's own protocol over TCP.

--midi Launch          a port with that in its name
--midi virtual         a port of one's own, that other programs connect to (Linux and macOS)
--midi listen:9080     a TCP port that `mido` programs of this machine connect to
--midi HOST:9080       a mido server elsewhere
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from rtserver.errors import UserError

VIRTUAL_NAME = "rtserver live"
LOOK_SECONDS = 0.002


class Port:
    """An open input. `receive` is called with each mido message, in a thread of the port's own, until `close`."""

    def __init__(self, wanted: str, receive: Callable[[Any], None]) -> None:
        self._mido = _mido()
        self._receive = receive
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if wanted.startswith("listen:") or _is_address(wanted):
            self._open_socket(wanted)
        else:
            self._open_port(wanted)

    def _open_socket(self, wanted: str) -> None:
        from mido import sockets

        host, number = wanted.rsplit(":", 1)
        if not number.isdecimal() or not 0 < int(number) < 65536:
            raise UserError(f"--midi {wanted}: expected a TCP port after the colon")
        try:
            if host == "listen":
                self._port: Any = sockets.PortServer("127.0.0.1", int(number))
                self.name = f"TCP port {number}"
            else:
                self._port = sockets.connect(host, int(number))
                self.name = wanted
        except OSError as error:
            raise UserError(f"--midi {wanted}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._poll, name="midi", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        serving = hasattr(self._port, "accept")
        senders = [] if serving else [self._port]
        while not self._closing.wait(LOOK_SECONDS):
            # Not the server's own receive(): that waits for a message however it is called.
            if serving and (sender := self._port.accept(block=False)) is not None:
                senders.append(sender)
            for sender in list(senders):
                try:
                    for message in sender.iter_pending():
                        self._receive(message)
                except (OSError, ValueError):  # it went away, or spoke something else
                    senders.remove(sender)
                    continue
                if sender.closed:
                    senders.remove(sender)

    def _open_port(self, wanted: str) -> None:
        try:
            if wanted == "virtual":
                self._port = self._mido.open_input(VIRTUAL_NAME, virtual=True, callback=self._receive)
                self.name = f"virtual port {VIRTUAL_NAME!r}"
                return
            names = list(dict.fromkeys(self._mido.get_input_names()))
        except ImportError:
            raise UserError(
                "MIDI ports need python-rtmidi: `pip install 'rtserver[live]'`; listen:9080 doesn't"
            ) from None
        except (OSError, RuntimeError, SystemError) as error:  # python-rtmidi's SystemError is a RuntimeError's cousin
            raise UserError(f"--midi {wanted}: the system has no MIDI: {error}; listen:9080 needs none") from None
        chosen = [name for name in names if wanted.lower() == name.lower()]
        chosen = chosen or [name for name in names if wanted.lower() in name.lower()]
        if len(chosen) != 1:
            there = ", ".join(chosen or names) or "none"
            what = "could be" if chosen else "is no MIDI port; there is"
            raise UserError(f"--midi {wanted} {what} {there}; or `virtual`, or listen:9080")
        self.name = chosen[0]
        self._port = self._mido.open_input(self.name, callback=self._receive)

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join(1.0)
        with contextlib.suppress(OSError):
            self._port.close()


def _is_address(text: str) -> bool:
    host, colon, number = text.rpartition(":")
    return bool(colon and host and number.isdecimal() and " " not in text)


def _mido() -> Any:
    try:
        import mido
    except ImportError:
        raise UserError("MIDI needs mido: `pip install 'rtserver[live]'`") from None
    return mido
