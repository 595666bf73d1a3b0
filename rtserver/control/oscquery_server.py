"""OSCQuery as programs of this machine ask for it: the namespace over HTTP, and its changes over a WebSocket.

A program that LISTENs to addresses gets their values as OSC messages when they change; every program hears which
sessions come and go. Looked at ten times a second, and only while somebody is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from rtserver import osc
from rtserver.control import status

if TYPE_CHECKING:
    from rtserver.control.server import Server

LOOK_SECONDS = 0.1
MOST_LISTENERS = 16
MOST_ADDRESSES = 512  # one listener may listen to
COMMAND_BYTES_MAX = 4096

Values = dict[tuple[int, str], Any]  # by session and parameter


class OscQueryServer:
    """Answers GET requests for the namespace and upgrades those that ask for a WebSocket."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sockets: set[web.WebSocketResponse] = set()

    async def stop(self) -> None:
        for socket in list(self._sockets):
            await socket.close(code=1001)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._listen(request)
        if "HOST_INFO" in request.query:
            return web.json_response(osc.host_info(self._server.options.port))
        node = osc.node_at(osc.oscquery(values=self._parameters()), request.path)
        if node is None:
            raise web.HTTPNotFound(text=f"no OSC address {request.path}\n")
        asked = list(request.query)
        if asked:
            if asked[0] not in osc.ATTRIBUTES:
                raise web.HTTPBadRequest(text=f"no attribute {asked[0][:40]}; one of {', '.join(osc.ATTRIBUTES)}\n")
            if asked[0] not in node:
                return web.Response(status=204)
            node = {asked[0]: node[asked[0]]}
        return web.json_response(node, headers={"Vary": "Accept"})

    def _parameters(self) -> dict[int, dict[str, Any]]:
        return {session.number: status.parameters(session) for session in self._server.sessions.values()}

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        if len(self._sockets) >= MOST_LISTENERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_LISTENERS} listen already, the most there can be\n")
        socket = web.WebSocketResponse(max_msg_size=COMMAND_BYTES_MAX, heartbeat=15.0, compress=False)
        self._sockets.add(socket)
        listened: set[str] = set()
        telling = None
        try:
            await socket.prepare(request)
            telling = asyncio.create_task(self._tell(socket, listened))
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    obey(message.data, listened)
        except ConnectionError:
            pass
        finally:
            self._sockets.discard(socket)
            if telling is not None:
                telling.cancel()
            with contextlib.suppress(ConnectionError):
                await socket.close()
        return socket

    async def _tell(self, socket: web.WebSocketResponse, listened: set[str]) -> None:
        sessions = set(self._server.sessions)
        known: Values = {}
        with contextlib.suppress(ConnectionError):
            while True:
                now = set(self._server.sessions)
                for command, numbers in (("PATH_ADDED", now - sessions), ("PATH_REMOVED", sessions - now)):
                    for number in sorted(numbers):
                        await socket.send_json({"COMMAND": command, "DATA": f"/rt/{number}"})
                sessions = now
                known, changed = self._changes(known, listened)
                for message in changed:
                    await socket.send_bytes(message)
                await asyncio.sleep(LOOK_SECONDS)

    def _changes(self, known: Values, listened: set[str]) -> tuple[Values, list[bytes]]:
        """The values of the addresses listened to, and OSC messages for those that are not as they were."""
        if not listened:
            return {}, []
        now: Values = {}
        for number, values in self._parameters().items():
            for name, value in values.items():
                if is_under(f"/rt/{number}/{name}", listened):
                    now[number, name] = value
        changed = [key for key, value in now.items() if known.get(key) != value]
        return now, [osc.encode(osc.SetParameter(number, name, now[number, name])) for number, name in changed]


def obey(text: str, listened: set[str]) -> None:
    """Take a LISTEN or IGNORE; anything else is passed over, as the proposal wants."""
    try:
        command = json.loads(text)
        what, path = command["COMMAND"], command["DATA"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if not isinstance(path, str) or not path.startswith("/"):
        return
    if what == "LISTEN" and len(listened) < MOST_ADDRESSES:
        listened.add(path.rstrip("/") or "/")
    elif what == "IGNORE":
        listened.discard(path.rstrip("/") or "/")


def is_under(address: str, branches: set[str]) -> bool:
    """Whether an address is one of the branches or lies on one."""
    if "/" in branches or address in branches:
        return True
    parts = address.split("/")
    return any("/".join(parts[:end]) in branches for end in range(2, len(parts)))
