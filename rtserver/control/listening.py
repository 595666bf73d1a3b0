"""The two sockets of a server: OSC on UDP and HTTP on TCP, at the same port."""

from __future__ import annotations

import errno
import os
import socket

from rtserver.errors import UserError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def bind(host: str, port: int, sealed: bool) -> tuple[socket.socket, socket.socket]:
    """The UDP and the TCP socket; the latter on loopback always. UserError when that can't be.

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
    tcp = socket.socket(family if host in LOOPBACK else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.bind(where)
        tcp.bind(where if host in LOOPBACK else ("127.0.0.1", port))
        tcp.listen(64)
    except OSError as error:
        udp.close()
        tcp.close()
        raise UserError(_why_not_bound(host, port, error)) from None
    return udp, tcp


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use, perhaps by another rtserver (`rtserver status --port {port}`"
            " tells); stop that program, or choose another --port"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; choose one above 1023 with --port"
    return f"can't listen on {host}:{port}: {error.strerror}; choose another --host or --port"
