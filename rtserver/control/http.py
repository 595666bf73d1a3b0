"""HTTP on the port's TCP side, on loopback only: `GET /` is the OSCQuery namespace, `GET /status` the status.

Read-only. Other machines ask over OSC, where every message is sealed.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from rtserver import osc
from rtserver.control import status

if TYPE_CHECKING:
    from rtserver.control.server import Server

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves GET requests from a bound, listening socket."""

    def __init__(self, server: Server, listening: socket.socket) -> None:
        self._server = server
        self._socket = listening
        app = web.Application(middlewares=[_local_only], client_max_size=1024)
        app.router.add_get("/status", self._status)
        app.router.add_get("/", self._namespace)
        app.router.add_get("/{path:rt.*}", self._namespace)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)

    async def start(self) -> None:
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(status.snapshot(self._server))

    async def _namespace(self, request: web.Request) -> web.Response:
        if "HOST_INFO" in request.query:
            return web.json_response(osc.host_info(self._server.options.port))
        sessions = self._server.sessions.values()
        tree = osc.oscquery(values={session.number: status.parameters(session) for session in sessions})
        for part in filter(None, request.path.split("/")):
            tree = tree.get("CONTENTS", {}).get(part)
            if tree is None:
                raise web.HTTPNotFound(text=f"no OSC address {request.path}\n")
        return web.json_response(tree)


@web.middleware
async def _local_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse names that are not ours: a web page elsewhere could have its own name point to this machine."""
    name = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
    if (name or request.host) not in LOCAL_NAMES:
        raise web.HTTPForbidden(text="ask for 127.0.0.1 or localhost\n")
    return await handler(request)
