"""A client's line to the control process: OSC over UDP, requests repeated until answered."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from types import TracebackType

from rtserver import osc
from rtserver.errors import UserError

REPEAT_SECONDS = 0.25
LOADING_REPEAT_SECONDS = 0.2
MAX_DATAGRAM_BYTES = 65536


class NoServer(UserError):
    """Nobody answers on the port."""


class ServerRefused(UserError):
    """The server answered with an error; `code` is its stable word."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class ControlConnection:
    """One UDP socket to one server. `request` and `poll` belong to one thread at a time; `send` to any."""

    def __init__(self, host: str = "127.0.0.1", port: int = 9000, key: bytes | None = None) -> None:
        self.host, self.port = host, port
        self._sealer = osc.Sealer(key) if key else None
        self._checker = osc.SealChecker(key) if key else None
        self._sending = threading.Lock()  # nonces leave in order
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind)
            self._socket.connect(address)
        except (OSError, UnicodeError, OverflowError) as error:
            raise NoServer(f"can't reach {host}:{port}: {error}; check host and port") from None
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> ControlConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, event: osc.Event) -> None:
        """Send once; lost if nobody listens. ValueError if the receiver would refuse it."""
        with self._sending:
            datagram = osc.encode(event, self._sealer)
            with contextlib.suppress(OSError):  # the ICMP answer to an earlier datagram, or a full buffer
                self._socket.send(datagram)

    def poll(self, timeout_s: float = 0.0) -> list[osc.Event]:
        """What has arrived. Raises ConnectionRefusedError when the machine says that nobody listens."""
        ready, _, _ = select.select([self._socket], [], [], timeout_s)
        events: list[osc.Event] = []
        while ready:
            try:
                datagram = self._socket.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            events += [e for e in osc.decode(datagram, "client", self._checker) if not isinstance(e, osc.Refusal)]
        return events

    def request(self, event: osc.Event, answer: type[osc.Event], timeout_s: float = 2.0) -> osc.Event:
        """Ask and give the answer. While the server loads its models, waits on, whatever the timeout.

        Raises NoServer or ServerRefused.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self.send(event)
            repeat = time.monotonic() + REPEAT_SECONDS
            while (left := min(repeat, deadline) - time.monotonic()) > 0:
                try:
                    events = self.poll(left)
                except ConnectionRefusedError:
                    raise NoServer(
                        f"no server on {self.host}:{self.port}; start one with"
                        f" `rtserver --model piano.pt --port {self.port}`"
                    ) from None
                except OSError as error:
                    raise NoServer(f"can't reach {self.host}:{self.port}: {error}; check the network") from None
                for received in events:
                    if isinstance(received, answer):
                        return received
                    if isinstance(received, osc.ErrorReply):
                        if received.code != "loading":
                            raise ServerRefused(received.code, received.text)
                        deadline = time.monotonic() + timeout_s
                        repeat = time.monotonic() + LOADING_REPEAT_SECONDS
            if time.monotonic() >= deadline:
                raise NoServer(
                    f"{self.host}:{self.port} does not answer; start a server there with"
                    f" `rtserver --model piano.pt --port {self.port}`, and give both the same --key if it has one"
                )
