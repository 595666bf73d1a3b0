"""What the page can have done: a request is a JSON object with `do` and its arguments, checked like an OSC message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from rtserver import osc
from rtserver.control import presets, status
from rtserver.control.sessions import Session
from rtserver.dashboard import library
from rtserver.errors import UserError

if TYPE_CHECKING:
    from rtserver.control.server import Server

Request = dict[str, Any]
Answer = dict[str, Any]


class Commands:
    """Carries out requests on a server. What they give is the answer's content; UserError says why not."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "set": self._set,
            "panic": self._panic,
            "blend": self._blend,
            "preset_save": self._preset_save,
            "preset_recall": self._preset_recall,
            "preset_delete": self._preset_delete,
            "preset_export": self._preset_export,
            "preset_import": self._preset_import,
            "files": self._files,
            "load": self._load,
            "default": self._default,
        }

    async def do(self, request: Request) -> Answer:
        name = request.get("do")
        handler = self._known.get(name) if isinstance(name, str) else None
        if handler is None:
            raise UserError(f"unknown request {str(name)[:40]!r}")
        return await handler(request)

    def _session(self, request: Request) -> Session:
        number = request.get("session")
        session = self._server.sessions.get(number) if type(number) is int else None
        if session is None:
            raise UserError(f"no session {str(number)[:20]}: it ended, or never was")
        return session

    async def _set(self, request: Request) -> Answer:
        session, name = self._session(request), request.get("name")
        argument = osc.PARAMETERS.get(name) if isinstance(name, str) else None
        if argument is None:
            raise UserError(f"no parameter {str(name)[:40]!r}; there are {', '.join(osc.PARAMETERS)}")
        try:
            value = osc.checked(argument, request.get("value"))
        except ValueError as error:
            raise UserError(str(error)) from None
        self._server.set_parameter(session, argument.name, value)
        return {"parameters": status.parameters(session)}

    async def _blend(self, request: Request) -> Answer:
        session = self._session(request)
        try:
            amount, source = (osc.checked(argument, request.get(argument.name)) for argument in osc.BLEND.arguments)
        except ValueError as error:
            raise UserError(str(error)) from None
        self._server.blend(session, amount, source)
        return {"blend": session.blend}

    async def _panic(self, request: Request) -> Answer:
        """Of one session, or of all."""
        chosen = [self._session(request)] if request.get("session") is not None else self._server.sessions.values()
        for session in chosen:
            self._server.set_parameter(session, "panic", 1)
        return {}

    # --- presets --------------------------------------------------------------------------------------------------

    async def _preset_save(self, request: Request) -> Answer:
        self._server.presets.save(self._session(request), request.get("name"))
        return self._preset_names()

    async def _preset_recall(self, request: Request) -> Answer:
        session = self._session(request)
        skipped = self._server.presets.recall(session, request.get("name"))
        return {"parameters": status.parameters(session), "skipped": skipped}

    async def _preset_delete(self, request: Request) -> Answer:
        self._server.presets.delete(request.get("name"))
        return self._preset_names()

    async def _preset_export(self, request: Request) -> Answer:
        return {"document": self._server.presets.get(request.get("name")).document}

    async def _preset_import(self, request: Request) -> Answer:
        preset = presets.parse(request.get("document"))
        if preset.name in self._server.presets.names() and request.get("replace") is not True:
            raise UserError(f"there is a preset {preset.name!r} already; delete it first")
        self._server.presets.put(preset)
        return {"name": preset.name, **self._preset_names()}

    def _preset_names(self) -> Answer:
        return {"presets": self._server.presets.names()}

    # --- models ---------------------------------------------------------------------------------------------------

    async def _files(self, request: Request) -> Answer:
        return {"files": await asyncio.to_thread(library.files)}

    async def _load(self, request: Request) -> Answer:
        path = await asyncio.to_thread(library.path_of, request.get("folder"), request.get("file"))
        model = await self._server.hot_loader.load(path)
        return {"model": model.description}

    async def _default(self, request: Request) -> Answer:
        """Which model new sessions get that name none."""
        name = request.get("model")
        self._server.catalog.default = self._server.catalog.find(name if isinstance(name, str) and name else "?").name
        return {"default": self._server.catalog.default}
