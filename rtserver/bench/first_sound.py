"""How long it takes from launching a server to the first translated frame at a client that already waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from rtserver.bench.own_server import OwnServer
from rtserver.connection import NoServer
from rtserver.errors import UserError

if TYPE_CHECKING:
    from rtserver.bench.stream import StreamOptions

PATIENCE_S = 90.0
ANSWER_S = 2.0  # for any answer, be it that models are still being loaded
RETRY_S = 0.005  # between attempts while nobody listens yet


def listen(options: StreamOptions, server: OwnServer) -> float:
    """Seconds from the launch of `server`, which needn't be ready, to the return of the first block with wet sound.

    Plays noise into the first model, in real time and with the fallback set to silence, so that nothing but the
    translation is heard. UserError if nothing is heard for PATIENCE_S, or the server ends.
    """
    from rtserver.client import Bridge

    deadline_s = time.monotonic() + PATIENCE_S
    frames = options.largest_block_frames
    while True:
        try:
            bridge = Bridge(
                server.port,
                options.rate_hz,
                frames,
                options.channels,
                options.transport,
                model=server.model_names[options.model],
                wait_s=ANSWER_S,
            )
            break
        except NoServer:
            server.check_alive()
            if time.monotonic() > deadline_s:
                raise
            time.sleep(RETRY_S)
    with bridge:
        bridge.set("fallback", "silence")
        noise = np.random.default_rng(0)
        due_s = time.monotonic()
        while time.monotonic() < deadline_s:
            block = noise.uniform(-0.3, 0.3, (frames, options.channels)).astype(np.float32)
            if np.any(bridge.process(block)):
                return time.monotonic() - server.started_ns / 1e9
            # Late, it drops time as a sound card does, instead of catching up in a burst.
            due_s = max(due_s + frames / options.rate_hz, time.monotonic())
            time.sleep(max(0.0, due_s - time.monotonic()))
    raise UserError(
        f"nothing was heard of {options.model} for {PATIENCE_S:.0f} s; `rtserver doctor` looks for the cause"
    )
