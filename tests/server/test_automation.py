"""Parameters that change in the middle of a bounce change it at the same sample every time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from rtserver.client import Bridge
from tests.server.harness import noise

BLOCK = 96
CURVES = {
    "temperature": lambda i: (i % 40) / 40,
    "decoder": lambda i: "strings" if i % 50 > 25 else "piano",
    "gate_db": lambda i: -12.0 + i % 12,
    "input_gain_db": lambda i: float(i % 30) - 20.0,
}


@pytest.mark.parametrize("name", CURVES)
def test_an_automated_bounce_is_the_same_every_time(start_server, tiny_pack, name):
    server = start_server("--model", str(tiny_pack))
    frames = noise(48000, seed=6)
    bounces = []
    stop = threading.Event()

    def disturb() -> None:  # so that server and client get the processor in another order each time
        while not stop.is_set():
            sum(range(20000))
            time.sleep(0.001)

    for disturbed in (False, True, False, True):
        thread = threading.Thread(target=disturb)
        if disturbed:
            thread.start()
        with Bridge(server.port, 48000, BLOCK, model="tiny", offline=True, seed=3) as bridge:
            pieces = []
            for i in range(len(frames) // BLOCK):
                bridge.set(name, CURVES[name](i))
                pieces.append(bridge.process(frames[i * BLOCK : (i + 1) * BLOCK]))
            bounces.append(np.concatenate(pieces))
        if disturbed:
            stop.set()
            thread.join()
            stop.clear()
    for bounce in bounces[1:]:
        assert np.array_equal(bounce, bounces[0])
    with Bridge(server.port, 48000, BLOCK, model="tiny", offline=True, seed=3) as bridge:
        still = np.concatenate([bridge.process(frames[i : i + BLOCK]) for i in range(0, len(frames), BLOCK)])
    assert not np.array_equal(still, bounces[0]), "the automation does something"
