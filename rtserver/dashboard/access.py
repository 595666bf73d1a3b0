"""Who may look and touch over HTTP: names of this machine only, pages of our own only, and a key where there is one.

- A web page elsewhere could have its own name point to this machine (DNS rebinding): the Host must be an address or a
  name of this machine.
- Any web page may open a WebSocket to anywhere: its Origin must be the page that we served. Programs send none.
- With a key, whoever connects proves by a challenge that he knows it: the key itself never travels. The connection is
  then trusted, but not encrypted: what holds for OSC holds here (docs/osc.md).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
PURPOSE = b"rtserver dashboard\0"  # an answer to this challenge is no seal of an OSC message
CHALLENGE_BYTES = 32


def split_host(header: str) -> str:
    """The name of a Host header, without the port and without the brackets of IPv6; "" if it is malformed."""
    try:
        return (urlsplit(f"//{header}").hostname or "") if "@" not in header else ""
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_ours(header: str, listening_host: str) -> bool:
    """Whether a Host header names this machine. No web page elsewhere can bear an address as its name."""
    name = split_host(header)
    machine = socket.gethostname().lower()
    own = {*LOCAL_NAMES, listening_host.lower(), machine, f"{machine.split('.')[0]}.local"}
    return bool(name) and (name in own or is_address(name))


def is_local(peer: str | None, header: str) -> bool:
    """Whether a request comes from this machine and asks for it by a name of loopback."""
    try:
        address = ipaddress.ip_address((peer or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback and split_host(header) in LOCAL_NAMES


def same_origin(origin: str | None, header: str) -> bool:
    """Whether a WebSocket is asked for by a page of ours, or by no page at all."""
    return origin is None or origin.lower() == f"http://{header.lower()}"


class KeyCheck:
    """One connection's proof that it knows the key: HMAC-SHA256 of the challenge, in hexadecimal."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.challenge = secrets.token_hex(CHALLENGE_BYTES)

    def accepts(self, answer: object) -> bool:
        return isinstance(answer, str) and hmac.compare_digest(answer.encode(), answer_to(self._key, self.challenge))


def answer_to(key: bytes, challenge: str) -> bytes:
    """What whoever knows the key answers to a challenge."""
    return hmac.digest(key, PURPOSE + challenge.encode(), "sha256").hex().encode()
