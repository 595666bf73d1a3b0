"""Adds a model to a running server: read and prepared beside it, made ready by the worker, and only then served.

A pack that is refused, by the reader or by the engine, leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from rtserver.control import models
from rtserver.control.models import Catalog, ServedModel
from rtserver.control.priority import lower_priority
from rtserver.errors import UserError
from rtserver.worker.messages import ModelLoaded

MOST_MODELS = 32
READY_SECONDS = 120.0


class HotLoader:
    """One model at a time. `send` takes messages for the worker."""

    def __init__(self, catalog: Catalog, precision: str, send: Callable[[object], None]) -> None:
        self._catalog = catalog
        self._precision = precision
        self._send = send
        self._turn = asyncio.Lock()
        self._waiting: tuple[str, asyncio.Future[str]] | None = None
        self._given_up: set[str] = set()
        self.loading = ""  # name of the file that is being loaded

    async def load(self, path: Path) -> ServedModel:
        """The model of a pack, served from now on. UserError if it is refused."""
        if self._turn.locked():
            raise UserError(f"{self.loading} is still being loaded; wait for it")
        async with self._turn:
            self.loading = path.name
            try:
                return await self._load(path)
            finally:
                self.loading = ""

    async def _load(self, path: Path) -> ServedModel:
        model = await self._read(path)
        known = next((known for known in self._catalog if known.name == model.name), None)
        if known is not None:
            if known.message.sha256 != model.message.sha256:
                raise UserError(f"another model called {model.name} is served already; rename one of the files")
            return known
        if sum(1 for _ in self._catalog) >= MOST_MODELS:
            raise UserError(f"{MOST_MODELS} models are served, the most there can be; start the server anew")
        self._given_up.discard(model.name)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting = (model.name, answer)
        self._send(model.message)
        try:
            error = await asyncio.wait_for(answer, READY_SECONDS)
        except TimeoutError:
            self._given_up.add(model.name)
            error = "the audio worker does not answer"
        finally:
            self._waiting = None
        if error:
            raise UserError(f"{path.name} can't be run: {error}")
        self._catalog.add(model)
        return model

    async def _read(self, path: Path) -> ServedModel:
        """In a thread of its own that nobody waits for when the server stops."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[ServedModel] = loop.create_future()

        def give(model: ServedModel | None, error: UserError | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            elif model is not None:
                done.set_result(model)

        def run() -> None:
            lower_priority()
            model, error = None, None
            try:
                model = models.load(str(path), self._precision)
            except UserError as caught:
                error = caught
            except Exception as caught:
                error = UserError(f"{path.name} can't be loaded: {type(caught).__name__}: {caught}")
            with contextlib.suppress(RuntimeError):  # stopped meanwhile
                loop.call_soon_threadsafe(give, model, error)

        threading.Thread(target=run, name="hot-loader", daemon=True).start()
        return await done

    def takes(self, message: ModelLoaded) -> bool:
        """Whether the worker's word is about a model being added, or one that was given up."""
        if message.name in self._given_up:
            return True
        if self._waiting is None or self._waiting[0] != message.name:
            return False
        if not self._waiting[1].done():
            self._waiting[1].set_result(message.error)
        return True

    def worker_ended(self) -> None:
        if self._waiting is not None and not self._waiting[1].done():
            self._waiting[1].set_result("the audio worker was started anew; try again")
