"""HTTP on the port's TCP side: the dashboard, OSCQuery (`GET /` of a program) and `GET /status`.

OSCQuery and the status are for programs of this machine. The dashboard is for whoever gets here; with a key, for who
knows it (`rtserver.dashboard.access`).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from rtserver import osc
from rtserver.control import status
from rtserver.dashboard.access import is_local, is_ours
from rtserver.dashboard.live import Live
from rtserver.dashboard.pages import Pages

if TYPE_CHECKING:
    from rtserver.control.server import Server

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves GET requests from bound, listening sockets."""

    def __init__(self, server: Server, listening: Sequence[socket.socket]) -> None:
        self._server = server
        self._sockets = listening
        self.live = Live(server)
        self._pages = Pages()
        app = web.Application(middlewares=[self._ours_only], client_max_size=1024)
        app.router.add_get("/status", self._local(self._status))
        app.router.add_get("/live", self.live.handle)
        app.router.add_get("/dashboard", self._pages.index)
        app.router.add_get("/dashboard/{file}", self._pages.file)
        app.router.add_get("/", self._root)
        app.router.add_get("/{path:rt.*}", self._local(self._namespace))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)

    async def start(self) -> None:
        await self._runner.setup()
        for listening in self._sockets:
            await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        await self.live.stop()
        await self._runner.cleanup()

    @web.middleware
    async def _ours_only(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request.host, self._server.options.host):
            raise web.HTTPForbidden(text="ask for this machine by its address or its name\n")
        return await handler(request)

    @staticmethod
    def _local(handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            if not is_local(request.remote, request.host):
                raise web.HTTPForbidden(text="for programs of this machine, by the name 127.0.0.1 or localhost\n")
            return await handler(request)

        return checked

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(status.snapshot(self._server))

    async def _root(self, request: web.Request) -> web.StreamResponse:
        """The dashboard to a browser, OSCQuery to a program."""
        if "text/html" in request.headers.get("Accept", "") and not request.query_string:
            return await self._pages.index(request)
        return await self._local(self._namespace)(request)

    async def _namespace(self, request: web.Request) -> web.Response:
        if "HOST_INFO" in request.query:
            return web.json_response(osc.host_info(self._server.options.port))
        sessions = self._server.sessions.values()
        tree = osc.oscquery(values={session.number: status.parameters(session) for session in sessions})
        for part in filter(None, request.path.split("/")):
            tree = tree.get("CONTENTS", {}).get(part)
            if tree is None:
                raise web.HTTPNotFound(text=f"no OSC address {request.path}\n")
        return web.json_response(tree, headers={"Vary": "Accept"})
