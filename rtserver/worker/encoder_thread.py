"""The encoder thread: on the audio path between the native intake and the native renderer.

One thread encodes the hops of every session, the most urgent first. A hop becomes a latent here; everything before
and after runs in native threads.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from rtserver.worker.blending import Blending

if TYPE_CHECKING:
    from rtserver import _engine
    from rtserver.worker.scheduling import Scheduler

Hop = npt.NDArray[np.float32]  # [hop_samples]
Latent = npt.NDArray[np.float32]  # [latent_channels]
WAIT_MS = 50  # how long the thread sleeps before it looks whether it shall end
FIFO_PRIORITY = 40  # below the native stream threads: a late encoder must not delay a decoder that has its latent


class HopEncoder(Protocol):
    """The encoder of one stream, hop by hop."""

    def reset(self) -> None:
        """Forget the stream: the next hop is the first of a new one."""

    def step(self, hop: Hop) -> Latent | None:
        """Take a hop, give a latent; None while a lookahead encoder fills."""


class Echo:
    """identity16k: the latent of a hop is the hop itself."""

    def reset(self) -> None:
        pass

    def step(self, hop: Hop) -> Latent | None:
        return hop


class EncoderThread:
    """Takes hops from the native worker, encodes them and hands the latents back."""

    def __init__(self, native: _engine.Worker, scheduler: Scheduler, core: int | None = None) -> None:
        """core: the only one it may run on; None: any."""
        self._native = native
        self._scheduler = scheduler
        self._core = core
        self._streams: dict[int, HopEncoder] = {}  # replaced as a whole, never changed in place
        self._blending = Blending()
        self._stopping = False
        self.hops = 0
        self.encoder_ns = 0
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(timeout=5)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def add(self, session: int, stream: HopEncoder) -> None:
        """Encode the hops of `session` with `stream` from now on. Call before its native session is opened."""
        self._streams = {**self._streams, session: stream}

    def remove(self, session: int) -> None:
        self._streams = {key: stream for key, stream in self._streams.items() if key != session}
        self.blend(session, 0.0, 0)

    def blend(self, session: int, amount: float, source: int) -> None:
        """From the next hop on, mix the newest latent of session `source` into those of `session`; 0 ends it."""
        self._blending.set(session, amount, source)

    def _run(self) -> None:
        self._scheduler.want(FIFO_PRIORITY, () if self._core is None else (self._core,))
        with contextlib.suppress(OSError):  # Linux: as `top -H` shows it, like the native threads
            Path("/proc/thread-self/comm").write_text("rt-encoder")
        try:
            while not self._stopping:
                item = self._native.wait_hop(WAIT_MS)
                if item is None:
                    continue
                session, epoch, hop_index, hop = item
                stream = self._streams.get(session)
                if stream is None:  # just closed
                    continue
                started = time.perf_counter_ns()
                if hop_index == 0:
                    stream.reset()
                latent = stream.step(hop)
                if latent is not None:
                    self._native.push_latent(session, epoch, self._blending.mixed(session, latent))
                self.encoder_ns += time.perf_counter_ns() - started
                self.hops += 1
        except BaseException as error:  # the process ends and is started anew: better than a deaf worker
            self.failure = error
