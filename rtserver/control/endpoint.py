"""The UDP socket of OSC control: reads datagrams in bounded batches, so that a flood costs a bounded share of time.

Every sender has an allowance of messages a second; what comes beyond it is dropped unread and counted. The kernel's
buffer is large, and what doesn't fit there is dropped by the kernel. Nothing here waits.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

Address = tuple[str, int]

RECEIVE_BUFFER_BYTES = 1 << 20
MAX_DATAGRAM_BYTES = 65536
BATCH = 32  # datagrams read before other work has its turn
SENDER_PER_SECOND = 200.0  # automation of ten parameters at 20 a second
SENDER_BURST = 400.0
TOTAL_PER_SECOND = 1000.0
TOTAL_BURST = 1000.0
SENDERS_REMEMBERED = 256


@dataclass
class Allowance:
    """A token bucket."""

    per_second: float
    burst: float
    tokens: float
    refilled: float

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.refilled) * self.per_second)
        self.refilled = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class OscEndpoint:
    """A bound UDP socket in the event loop. `on_datagram(data, address)` must not raise."""

    def __init__(self, bound: socket.socket, on_datagram: Callable[[bytes, Address], None]) -> None:
        self._socket = bound
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._on_datagram = on_datagram
        self._loop = asyncio.get_running_loop()
        now = time.monotonic()
        self._total = Allowance(TOTAL_PER_SECOND, TOTAL_BURST, TOTAL_BURST, now)
        self._senders: OrderedDict[Address, Allowance] = OrderedDict()
        self.received = 0
        self.dropped: Counter[str] = Counter()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def send(self, data: bytes, address: Address) -> None:
        """Send at once or not at all."""
        try:
            self._socket.sendto(data, address)
        except OSError:
            self.dropped["reply_not_sent"] += 1

    def _read(self) -> None:
        now = time.monotonic()
        for _ in range(BATCH):
            try:
                data, address = self._socket.recvfrom(MAX_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an ICMP answer to something we sent
                continue
            self.received += 1
            if self._allowance(address[:2], now).take(now) and self._total.take(now):
                self._on_datagram(data, address[:2])
            else:
                self.dropped["too_many"] += 1

    def _allowance(self, address: Address, now: float) -> Allowance:
        allowance = self._senders.get(address)
        if allowance is None:
            if len(self._senders) >= SENDERS_REMEMBERED:
                self._senders.popitem(last=False)
            allowance = self._senders[address] = Allowance(SENDER_PER_SECOND, SENDER_BURST, SENDER_BURST, now)
        else:
            self._senders.move_to_end(address)
        return allowance
