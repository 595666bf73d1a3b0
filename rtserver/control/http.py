"""HTTP on the port's TCP side: the dashboard, OSCQuery (`GET /` of a program) and `GET /status`.

OSCQuery and the status are for programs of this machine. The dashboard is for whoever gets here; with a key, for who
knows it (`rtserver.dashboard.access`).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from rtserver.control import status
from rtserver.control.announce import Announcement
from rtserver.control.oscquery_server import OscQueryServer
from rtserver.dashboard.access import is_local, is_ours, same_origin
from rtserver.dashboard.live import Live
from rtserver.dashboard.pages import Pages
from rtserver.errors import UserError

if TYPE_CHECKING:
    from rtserver.control.server import Server

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves GET requests from bound, listening sockets."""

    def __init__(self, server: Server, listening: Sequence[socket.socket]) -> None:
        self._server = server
        self._sockets = listening
        self.live = Live(server)
        self._pages = Pages()
        self._announcement: Announcement | None = None
        self._oscquery = OscQueryServer(server)
        app = web.Application(middlewares=[self._ours_only], client_max_size=1024)
        app.router.add_get("/status", self._local(self._status))
        app.router.add_get("/live", self.live.handle)
        app.router.add_get("/dashboard", self._pages.index)
        app.router.add_get("/dashboard/{file}", self._pages.file)
        app.router.add_get("/", self._root)
        app.router.add_get("/{path:rt.*}", self._local(self._oscquery.handle))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)

    async def start(self) -> None:
        await self._runner.setup()
        for listening in self._sockets:
            await web.SockSite(self._runner, listening).start()
        if self._server.options.announce:
            await self._announce()

    async def _announce(self) -> None:
        options = self._server.options
        try:
            self._announcement = Announcement(options.host, options.port, options.key is not None)
            await self._announcement.start()
        except (OSError, UserError) as error:
            log.warning("the server is not announced: %s", error)

    async def stop(self) -> None:
        if self._announcement is not None:
            await self._announcement.stop()
        await self.live.stop()
        await self._oscquery.stop()
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
            if not same_origin(
                request.headers.get("Origin"), request.host
            ):  # a WebSocket is open to pages from anywhere
                raise web.HTTPForbidden(text="asked for by a page from elsewhere\n")
            return await handler(request)

        return checked

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(status.snapshot(self._server))

    async def _root(self, request: web.Request) -> web.StreamResponse:
        """The dashboard to a browser, OSCQuery to a program."""
        if "text/html" in request.headers.get("Accept", "") and not request.query_string:
            return await self._pages.index(request)
        return await self._local(self._oscquery.handle)(request)
