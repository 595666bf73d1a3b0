"""Real-time priority by RealtimeKit, the service of desktop systems that grants it to ordinary users over D-Bus.

It asks in return that no real-time thread of ours can run for long without a pause (RLIMIT_RTTIME): the kernel ends a
process that does. The native threads pause in time (csrc/stream/audio_thread.h, Stamina).
"""

from __future__ import annotations

import threading
from typing import Any

SERVICE, PATH, INTERFACE = (
    "org.freedesktop.RealtimeKit1",
    "/org/freedesktop/RealtimeKit1",
    "org.freedesktop.RealtimeKit1",
)
TIMEOUT_S = 2.0


class RtKitError(Exception):
    """Why it can't be had, in a line."""


class RtKit:
    """A connection to the service of this machine. `highest` is the priority that it grants at most.

    RtKitError if there is none, or if it grants nothing.
    """

    def __init__(self) -> None:
        try:
            from jeepney import DBusAddress, Properties
            from jeepney.io.blocking import open_dbus_connection
        except ImportError:
            raise RtKitError("the Python package jeepney is missing") from None
        self._address = DBusAddress(PATH, SERVICE, INTERFACE)
        self._lock = threading.Lock()
        try:
            self._connection = open_dbus_connection(bus="SYSTEM")
        except Exception as error:  # no bus, or one that turns us away: there are many ways
            why = error.strerror if isinstance(error, OSError) and error.strerror else error or type(error).__name__
            raise RtKitError(f"no D-Bus system bus ({why})") from None
        try:
            properties = Properties(self._address)
            self.highest = int(self._call(properties.get("MaxRealtimePriority"))[0][1])
            longest_us = int(self._call(properties.get("RTTimeUSecMax"))[0][1])
            if self.highest < 1:
                raise RtKitError(f"it grants priorities up to {self.highest}")
            _limit_run_time(longest_us)
        except BaseException:
            self.close()
            raise

    def make_realtime(self, thread_id: int, priority: int) -> None:
        """Real-time priority for a thread of this process. RtKitError if it is refused."""
        from jeepney import new_method_call

        self._call(new_method_call(self._address, "MakeThreadRealtime", "tu", (thread_id, priority)))

    def close(self) -> None:
        self._connection.close()

    def _call(self, message: Any) -> tuple[Any, ...]:
        from jeepney import HeaderFields, MessageType

        try:
            with self._lock:
                reply = self._connection.send_and_get_reply(message, timeout=TIMEOUT_S)
        except TimeoutError:
            raise RtKitError(f"rtkit did not answer within {TIMEOUT_S:g} s") from None
        except Exception as error:  # the bus hung up, or sent what is no message
            raise RtKitError(f"rtkit can't be reached ({error or type(error).__name__})") from None
        if reply.header.message_type == MessageType.error:
            name = str(reply.header.fields.get(HeaderFields.error_name, "an error")).rsplit(".", 1)[-1]
            said = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            if name == "ServiceUnknown":
                raise RtKitError("rtkit is not installed")
            raise RtKitError(f"rtkit refused: {name}{f' ({said})' if said and said != name else ''}")
        return tuple(reply.body)


def _limit_run_time(longest_us: int) -> None:
    """What the service demands first: a hard limit that is no greater than its own."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    limit = longest_us if hard == resource.RLIM_INFINITY else min(hard, longest_us)
    resource.setrlimit(resource.RLIMIT_RTTIME, (limit, limit))
