"""A flood of OSC messages on a control port, from a process of its own: `python -m rtserver.bench.flood PORT RATE`.

Every message is one that a controller could send: parameters that don't change the sound, status queries, and one in
ten malformed. Prints a line when it begins, and one JSON object when standard input closes or after SECONDS.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

import typer
from pythonosc.osc_message_builder import OscMessageBuilder


def messages(session: int) -> list[bytes]:
    """What the flood repeats."""

    def message(address: str, *values: float | int) -> bytes:
        builder = OscMessageBuilder(address)
        for value in values:
            builder.add_arg(value)
        return bytes(builder.build().dgram)

    return [
        *(message(f"/rt/{session}/input_gain_db", 0.0) for _ in range(4)),
        *(message(f"/rt/{session}/temperature", 1.0) for _ in range(3)),
        message("/rt/status"),
        message(f"/rt/{session}/no_such_parameter", 1),
        b"/rt/\xff\xfe\x00,zzzz",
    ]


def main(port: int, rate: float, seconds: float = 3600.0, session: int = 1, host: str = "127.0.0.1") -> None:
    """Send RATE messages a second to the control port PORT, in bursts a millisecond apart."""
    cycle = messages(session)
    sent = refused = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((host, port))
        sender.setblocking(False)
        print("flooding", flush=True)  # whoever measures waits for this
        started_s = time.monotonic()
        while (elapsed_s := time.monotonic() - started_s) < seconds:
            for _ in range(int(rate * elapsed_s) - sent):
                try:
                    sender.send(cycle[sent % len(cycle)])
                except OSError:
                    refused += 1
                sent += 1
            try:  # replies to the status queries
                while sender.recv(65536):
                    pass
            except OSError:
                pass
            if select.select([sys.stdin], [], [], 0.001)[0] and not sys.stdin.read(1):
                break
    print(json.dumps({"sent": sent, "not_sent": refused, "seconds": round(elapsed_s, 3)}))


if __name__ == "__main__":
    typer.run(main)
