"""The sockets of a server: OSC on UDP and HTTP on TCP, at the same port."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from rtserver.errors import UserError

EVERYWHERE = ("0.0.0.0", "::")  # loopback among it
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def bind(host: str, port: int, sealed: bool) -> tuple[socket.socket, list[socket.socket]]:
    """The UDP socket, and the TCP ones: on the host's address, and on loopback too. UserError when that can't be.

    sealed: whether messages are authenticated, without which nothing but loopback is listened on.
    """
    if host not in LOOPBACK and not sealed:
        raise UserError(
            f"refusing to listen on {host} without a key: anybody on the network could connect;"
            " add --key SECRET (or --key @FILE), or leave --host out"
        )
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host}: {error}; give an address of this machine") from None
    udp = socket.socket(family, socket.SOCK_DGRAM)
    listening: list[socket.socket] = []
    try:
        udp.bind(where)
        listening.append(_listen(family, where))
        if host not in LOOPBACK and where[0] not in EVERYWHERE and not str(where[0]).startswith("127."):
            listening.append(_listen(socket.AF_INET, ("127.0.0.1", port)))
    except OSError as error:
        udp.close()
        for tcp in listening:
            tcp.close()
        raise UserError(_why_not_bound(host, port, error)) from None
    return udp, listening


def _listen(family: int, where: Any) -> socket.socket:
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(where)
        tcp.listen(64)
    except OSError:
        tcp.close()
        raise
    return tcp


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use, perhaps by another rtserver (`rtserver status --port {port}`"
            " tells); stop that program, or choose another --port"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; choose one above 1023 with --port"
    return f"can't listen on {host}:{port}: {error.strerror}; choose another --host or --port"
