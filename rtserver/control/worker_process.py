"""One audio worker as a child process, and the control process's end of its pipe."""

from __future__ import annotations

import multiprocessing

from rtserver.worker import start
from rtserver.worker.messages import WorkerOptions


class WorkerProcess:
    """Started when made, at the nice level of the calling thread."""

    def __init__(self, options: WorkerOptions) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=start.main, args=(theirs, options), name="rtserver-audio", daemon=True)
        self._process.start()
        theirs.close()
        self._ended = False

    @property
    def sentinel(self) -> int:
        """Ready, for `multiprocessing.connection.wait`, when the process has ended."""
        return self._process.sentinel

    def how_it_ended(self, patience_s: float) -> str:
        """In words, once its pipe broke."""
        self._process.join(patience_s)
        exitcode = self._process.exitcode
        if exitcode is None:
            return "its pipe broke"
        return f"killed by signal {-exitcode}" if exitcode < 0 else f"it exited with status {exitcode}"

    def end(self, patience_s: float = 0.0) -> None:
        """Close the pipe, which tells it to end; kill it if it lives longer than that. May be called again."""
        if self._ended:
            return
        self._ended = True
        self.pipe.close()
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
