"""A D-Bus system bus with nobody on it but a RealtimeKit, as little of both as the protocol allows.

Speaks to one client after another over a Unix socket: authentication, Hello, the properties and MakeThreadRealtime.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.low_level import Parser

PROPERTIES = {"MaxRealtimePriority": ("i", 20), "RTTimeUSecMax": ("x", 200_000)}


class MockRtkit:
    """answer: what to do with (thread id, priority): an error's name to refuse, "" to grant, None to keep silent."""

    def __init__(self, folder: Path, answer: Callable[[int, int], str | None], installed: bool = True) -> None:
        self.asked: list[tuple[int, int]] = []
        self._answer, self._installed = answer, installed
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "bus"))
        self._listener.listen(4)
        self.environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder / 'bus'}"}
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client:
            lines = b""
            while b"BEGIN\r\n" not in lines:
                received = client.recv(4096)
                if not received:
                    return
                lines += received
                if received.endswith(b"\r\n") and b"BEGIN" not in received:
                    client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n" if b"AUTH" in received else b"ERROR\r\n")
            parser, serial = Parser(), 0
            rest = lines.partition(b"BEGIN\r\n")[2]
            while True:
                if rest:
                    parser.add_data(rest)
                while (message := parser.get_next_message()) is not None:
                    reply = self._reply(message) if message.header.message_type == MessageType.method_call else None
                    if reply is not None:
                        serial += 1
                        client.sendall(reply.serialise(serial=serial))
                rest = client.recv(4096)
                if not rest:
                    return

    def _reply(self, message: Any) -> Any:
        fields = message.header.fields
        if fields.get(HeaderFields.member) == "Hello":
            return new_method_return(message, "s", (":1.1",))
        if not self._installed:
            return new_error(message, "org.freedesktop.DBus.Error.ServiceUnknown", "s", ("not provided",))
        if fields.get(HeaderFields.member) == "Get":
            return new_method_return(message, "v", (PROPERTIES[message.body[1]],))
        assert (fields[HeaderFields.interface], fields[HeaderFields.member], fields[HeaderFields.signature]) == (
            "org.freedesktop.RealtimeKit1",
            "MakeThreadRealtime",
            "tu",
        )
        thread, priority = message.body
        self.asked.append((thread, priority))
        error = self._answer(thread, priority)
        if error is None:
            return None
        if error:
            return new_error(message, f"org.freedesktop.DBus.Error.{error}", "s", (error,))
        return new_method_return(message, "", ())
