"""Does an open dashboard disturb the audio? `python -m benchmarks.dashboard [--seconds 60] [--pages 3]`.

An instrument and `identity16k` take turns on one server, each once with no page open and once with several that watch
it and read everything, in one run. Also what the pages cost the control process, in parts of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtserver.bench import machine
from rtserver.bench.own_server import OwnServer, status_at
from rtserver.bench.stream import StreamOptions, connect, play

TURN_S = 10.0  # short, so that what else disturbs the machine falls on all alike


def measure(model: str, seconds: float, pages: int) -> dict[str, Any]:
    """Misses with and without pages, by model."""
    options = StreamOptions(model, alternate_with="identity16k", seconds=seconds)
    turns: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(OwnServer([model, "identity16k"], arguments=options.server_arguments))
        streams = {name: stack.enter_context(connect(options, name, server)) for name in (model, "identity16k")}
        control = (status_at(server.port) or {})["pid"]
        left_s = seconds
        while left_s > 1e-9:
            turn_s = min(TURN_S, left_s)
            for open_pages in (0, pages):
                for stream in streams.values():
                    with _pages(open_pages, server.port, stream.bridges[0].session):
                        before_s = _processor_s(control)
                        turn = play(options, stream, 0, turn_s, server).summary()
                        busy = (_processor_s(control) - before_s) / turn_s
                    turns.append({**turn, "pages": open_pages, "control_of_a_core": round(busy, 4)})
                    print(_line(turns[-1]), file=sys.stderr, flush=True)
            left_s -= turn_s
    found = [_sum(turns, name, open_pages) for name in streams for open_pages in (0, pages)]
    return {"model": model, "seconds": seconds, "pages": pages, "found": found, "machine": machine.describe()}


def _sum(turns: list[dict[str, Any]], model: str, pages: int) -> dict[str, Any]:
    mine = [turn for turn in turns if turn["model"] == model and turn["pages"] == pages]
    causes: dict[str, int] = {}
    for turn in mine:
        for cause, count in turn["misses_by_cause"].items():
            causes[cause] = causes.get(cause, 0) + count
    return {
        "model": model,
        "pages": pages,
        "blocks": sum(turn["blocks"] for turn in mine),
        "misses": sum(turn["misses"] for turn in mine),
        "misses_by_cause": causes,
        "round_trip_us_max": max(turn["round_trip_us"]["max"] for turn in mine),
        "steal_ms": sum(turn["steal_ms"] or 0.0 for turn in mine),
        "control_of_a_core": round(sum(turn["control_of_a_core"] for turn in mine) / len(mine), 4),
    }


def _line(turn: dict[str, Any]) -> str:
    return (
        f"{turn['model']}, {turn['pages']} pages: {turn['misses']} of {turn['blocks']} blocks missed"
        f" {turn['misses_by_cause'] or ''}, control process {100 * turn['control_of_a_core']:.1f} % of a core"
    )


def _processor_s(pid: int) -> float:
    """Time that a process has spent on processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _pages(count: int, port: int, session: int) -> Iterator[None]:
    """Open pages, in a process of their own that yields to everybody."""
    if not count:
        yield
        return
    arguments = [sys.executable, "-m", "benchmarks.dashboard", "--watch", f"{port},{session},{count}"]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.communicate(timeout=10.0)


async def watch(port: int, session: int, count: int) -> None:
    """Read everything that pages are shown until standard input closes."""
    import aiohttp

    os.nice(10)
    async with aiohttp.ClientSession() as client:
        sockets = [await client.ws_connect(f"http://127.0.0.1:{port}/live") for _ in range(count)]

        async def read(socket: aiohttp.ClientWebSocketResponse) -> None:
            await socket.send_json({"do": "watch", "session": session})
            async for _ in socket:
                pass

        reading = [asyncio.create_task(read(socket)) for socket in sockets]
        await asyncio.sleep(1.0)  # numpy is imported for the first page
        print("watching", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in reading:
            task.cancel()


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    arguments.add_argument("--model", default="piano.pt")
    arguments.add_argument("--seconds", type=float, default=60.0, help="of each model, with and without pages")
    arguments.add_argument("--pages", type=int, default=3, help="open at once")
    arguments.add_argument("--watch", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.watch:
        asyncio.run(watch(*map(int, asked.watch.split(","))))
        return
    started_s = time.monotonic()
    found = measure(asked.model, asked.seconds, asked.pages)
    print(json.dumps({**found, "took_s": round(time.monotonic() - started_s, 1)}))


if __name__ == "__main__":
    main()
