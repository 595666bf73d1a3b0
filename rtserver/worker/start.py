"""Where the audio worker's process begins: light, because the control process imports it to name it."""

from __future__ import annotations

from multiprocessing.connection import Connection

from rtserver.worker.messages import WorkerOptions


def main(pipe: Connection, options: WorkerOptions) -> None:
    """Serve the control process at the other end of `pipe`."""
    from rtserver.worker import process

    process.main(pipe, options)
