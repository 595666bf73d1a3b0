"""Authentication of OSC messages with a shared key; beyond loopback every message must carry a seal.

A sealed message ends with two more arguments: `h`, the nonce, the sender's Unix time in microseconds, strictly
increasing; and `b`, 16 bytes, the first half of HMAC-SHA256 over every byte of the message before those 16.
`plugin_bridge/include/rtbridge/osc_seal.h` is the C++ twin of this file, for audio.
"""

from __future__ import annotations

import hmac
import struct
import time
from collections import deque
from typing import Literal

MAC_BYTES = 16
STALE_US = 60_000_000
_TAIL_BYTES = 8 + 4 + MAC_BYTES  # nonce, size of the blob, blob

SealFault = Literal["unsealed", "forged", "stale", "replayed"]


def now_us() -> int:
    """Unix time in microseconds."""
    return time.time_ns() // 1000


def mac(key: bytes, covered: bytes) -> bytes:
    """The seal of the bytes that come before it."""
    return hmac.digest(key, covered, "sha256")[:MAC_BYTES]


class Sealer:
    """Seals outgoing messages. One a sender: its nonces never repeat and never fall."""

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("the key is empty: give at least one byte")
        self._key = key
        self._last_nonce = 0

    def next_nonce(self, time_us: int | None = None) -> int:
        self._last_nonce = max(self._last_nonce + 1, now_us() if time_us is None else time_us)
        return self._last_nonce

    def close(self, open_message: bytes) -> bytes:
        """Put the seal on a message that ends with a nonce and the size of a 16-byte blob still to come."""
        return open_message + mac(self._key, open_message)


class SealChecker:
    """Checks incoming messages against the key, the clock and what has been seen.

    Remembers every accepted seal for as long as it would not be stale, up to `memory`; beyond that, everything up to
    the nonce forgotten counts as replayed. Reordered messages pass. Not bound to sender addresses: a message
    recorded and sent again from elsewhere is refused too.
    """

    def __init__(self, key: bytes, memory: int = 65536) -> None:
        if not key:
            raise ValueError("the key is empty: give at least one byte")
        self._key = key
        self._memory = memory
        self._seen: set[bytes] = set()
        self._order: deque[tuple[int, bytes]] = deque()
        self._floor_nonce = 0

    def check(self, message: bytes, tags: str, time_us: int | None = None) -> SealFault | None:
        """None if the message is authentic and new, which is then remembered. `tags` without the comma."""
        if not tags.endswith("hb") or len(message) < _TAIL_BYTES:
            return "unsealed"
        nonce, size = struct.unpack_from(">qi", message, len(message) - _TAIL_BYTES)
        if size != MAC_BYTES:
            return "unsealed"
        seal = message[-MAC_BYTES:]
        if not hmac.compare_digest(seal, mac(self._key, message[:-MAC_BYTES])):
            return "forged"
        now = now_us() if time_us is None else time_us
        if abs(now - nonce) > STALE_US:
            return "stale"
        if seal in self._seen or nonce <= self._floor_nonce:
            return "replayed"
        self._remember(nonce, seal, now)
        return None

    def _remember(self, nonce: int, seal: bytes, now: int) -> None:
        while self._order and self._order[0][0] < now - STALE_US:
            self._seen.discard(self._order.popleft()[1])
        if len(self._order) >= self._memory:
            forgotten, old = self._order.popleft()
            self._seen.discard(old)
            self._floor_nonce = max(self._floor_nonce, forgotten)
        self._seen.add(seal)
        self._order.append((nonce, seal))
