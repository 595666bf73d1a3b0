"""Starts the audio worker, listens to it, and starts it anew when it dies or hangs.

A thread of its own: it spawns at the normal nice level although the control process has lowered its own, and a pipe
that is full of weights never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from rtserver.control.worker_process import WorkerProcess
from rtserver.worker.messages import LoadModel, ModelLoaded, Stop, WorkerOptions

SILENCE_SECONDS = 5.0  # a worker that has not reported for so long hangs
LOADING_SILENCE_SECONDS = 60.0  # while it packs weights and builds encoders, it can't report
START_SECONDS = 60.0
STOP_SECONDS = 3.0
BACKOFF_SECONDS = (0.0, 0.2, 1.0, 3.0, 10.0)  # before the n-th start in a row that did not last
LASTED_SECONDS = 20.0


class WorkerSupervisor:
    """One worker at a time. Callbacks run in the event loop, in order."""

    def __init__(
        self,
        options: WorkerOptions,
        on_message: Callable[[object], None],
        on_exit: Callable[[str], None],
        first: WorkerProcess | None = None,
    ) -> None:
        """`first`: a worker that was started already, so that it starts while the rest of the program is imported."""
        self._options = options
        self._on_message = on_message
        self._on_exit = on_exit
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._wake_receiver, self._wake_sender = connection.Pipe(duplex=False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-supervisor", daemon=True)
        self.restarts = 0

    def start(self) -> None:
        self._thread.start()

    def send(self, message: object) -> None:
        """Queue a message to the worker that runs now; lost if there is none. Never blocks."""
        self._outbox.put(message)
        self._wake()

    async def stop(self) -> None:
        """End the worker, by force if it doesn't listen."""
        self._stopping.set()
        self._wake()
        await asyncio.to_thread(self._thread.join, STOP_SECONDS * 3)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # stopped
            self._wake_sender.send_bytes(b"")

    def _tell(self, callback: Callable[[Any], None], argument: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(callback, argument)

    def _ended(self, why: str) -> None:
        """In the event loop, so that the count of ends is never seen beside the state of the worker before."""
        self.restarts += 1
        self._on_exit(why)

    def _run(self) -> None:
        short_lived = 0
        while not self._stopping.is_set():
            if self._stopping.wait(BACKOFF_SECONDS[min(short_lived, len(BACKOFF_SECONDS) - 1)]):
                return
            started = time.monotonic()
            why = self._run_one()
            if self._stopping.is_set():
                return
            short_lived = 0 if time.monotonic() - started > LASTED_SECONDS else short_lived + 1
            self._tell(self._ended, why)

    def _run_one(self) -> str:
        """Start a worker, carry messages until it ends; tells why it ended."""
        while not self._outbox.empty():  # meant for the worker that died
            self._outbox.get()
        worker, self._first = self._first or WorkerProcess(self._options), None
        try:
            return self._carry(worker)
        except (EOFError, BrokenPipeError, ConnectionError):
            return worker.how_it_ended(STOP_SECONDS)
        finally:
            worker.end(STOP_SECONDS if self._stopping.is_set() else 0.1)

    def _carry(self, worker: WorkerProcess) -> str:
        pipe, sentinel = worker.pipe, worker.sentinel
        loading: set[str] = set()
        deadline = time.monotonic() + START_SECONDS
        while True:
            ready = connection.wait([pipe, sentinel, self._wake_receiver], timeout=0.5)
            if self._stopping.is_set():
                pipe.send(Stop())
                return "stopped"
            if self._wake_receiver in ready:
                while self._wake_receiver.poll():
                    self._wake_receiver.recv_bytes()
                while not self._outbox.empty():
                    message = self._outbox.get()
                    if isinstance(message, LoadModel):
                        loading.add(message.name)
                        deadline = time.monotonic() + LOADING_SILENCE_SECONDS
                    pipe.send(message)
            if pipe in ready:
                message = pipe.recv()
                if isinstance(message, ModelLoaded):
                    loading.discard(message.name)
                deadline = time.monotonic() + (LOADING_SILENCE_SECONDS if loading else SILENCE_SECONDS)
                self._tell(self._on_message, message)
            elif sentinel in ready:
                raise EOFError
            if time.monotonic() > deadline:
                return "it stopped answering"
