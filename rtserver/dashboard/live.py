"""The dashboard's WebSocket: JSON texts both ways. One feed for all pages, none while nobody looks.

To the page: `hello` (with a challenge where there is a key), then `meters` and `status`, and to each request with an
`id` one answer. A page that reads slowly skips pictures; it never makes anybody wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from rtserver import osc
from rtserver.control.endpoint import Allowance
from rtserver.dashboard.access import KeyCheck, same_origin
from rtserver.dashboard.commands import Commands
from rtserver.dashboard.feed import FRAMES_PER_SECOND, STATUS_EVERY, Feed
from rtserver.errors import UserError
from rtserver.version import rtserver_version

if TYPE_CHECKING:
    from rtserver.control.server import Server

log = logging.getLogger(__name__)

MOST_PAGES = 16
MOST_KNOCKING = 4  # connections of one address that have not shown that they know the key
MESSAGE_BYTES_MAX = 32768
KEY_SECONDS = 60.0  # for a person to type the key
WRONG_KEY_SECONDS = 1.0  # an answer to a wrong key takes so long
REQUESTS_PER_SECOND = 100.0
REQUESTS_BURST = 200.0
WAITING = 32  # messages for a page that has not read them yet


class Page:
    """One open page."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.watched: int | None = None
        self.outgoing: asyncio.Queue[str] = asyncio.Queue(WAITING)
        now = time.monotonic()
        self.allowance = Allowance(REQUESTS_PER_SECOND, REQUESTS_BURST, REQUESTS_BURST, now)

    def show(self, text: str) -> None:
        """Send a picture, unless earlier ones still wait."""
        if self.outgoing.qsize() < WAITING // 4:
            self.outgoing.put_nowait(text)

    def answer(self, answer: dict[str, Any]) -> None:
        """Send an answer. A page that asks and doesn't read is closed."""
        try:
            self.outgoing.put_nowait(json.dumps(answer))
        except asyncio.QueueFull:
            raise ConnectionResetError("a page doesn't read its answers") from None

    async def send_on(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self.socket.send_str(await self.outgoing.get())


class Live:
    """Accepts pages and keeps them informed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._commands = Commands(server)
        self._feed = Feed(server)
        self._pages: set[Page] = set()
        self._knocking: Counter[str | None] = Counter()
        self._feeding: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pages(self) -> int:
        return len(self._pages)

    async def stop(self) -> None:
        for page in list(self._pages):
            await page.socket.close(code=1001, message=b"the server stops")
        if self._feeding is not None:
            self._feeding.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not same_origin(request.headers.get("Origin"), request.host):
            raise web.HTTPForbidden(text="asked for by a page from elsewhere\n")
        if len(self._pages) >= MOST_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{MOST_PAGES} pages are open, the most there can be\n")
        peer = request.remote
        if self._knocking[peer] >= MOST_KNOCKING:
            raise web.HTTPTooManyRequests(text="others from there have still to give the key\n")
        socket = web.WebSocketResponse(
            max_msg_size=MESSAGE_BYTES_MAX, heartbeat=15.0, compress=False, timeout=2.0, autoping=True
        )
        try:
            await socket.prepare(request)
            self._knocking[peer] += 1
            try:
                admitted = await self._admitted(socket)
            finally:
                self._knocking[peer] -= 1
                self._knocking += Counter()  # forgets who is at 0
            if admitted:
                await self._serve(Page(socket))
        except ConnectionError:
            pass
        finally:
            with contextlib.suppress(ConnectionError):
                await socket.close()
        return socket

    async def _admitted(self, socket: web.WebSocketResponse) -> bool:
        key = self._server.options.key
        if key is None:
            await socket.send_json({"hello": self._hello()})
            return True
        check = KeyCheck(key)
        await socket.send_json({"challenge": check.challenge})
        with contextlib.suppress(TimeoutError, ValueError):
            message = await socket.receive(timeout=KEY_SECONDS)
            content = json.loads(message.data) if message.type is WSMsgType.TEXT else None
            if isinstance(content, dict) and check.accepts(content.get("answer")):
                await socket.send_json({"hello": self._hello()})
                return True
        await asyncio.sleep(WRONG_KEY_SECONDS)
        await socket.close(code=4401, message=b"wrong key")
        return False

    def _hello(self) -> dict[str, Any]:
        """What a page needs once: the parameters, so that its knobs are those of the table."""
        parameters = [
            {
                "name": argument.name,
                "type": argument.tag,
                "doc": argument.doc,
                "unit": argument.unit,
                "low": argument.low,
                "high": argument.high,
                "choices": list(argument.choices),
                "default": osc.DEFAULTS.get(argument.name),
            }
            for argument in osc.PARAMETERS.values()
        ]
        names = self._server.presets.names()
        return {"version": rtserver_version(), "parameters": parameters, "presets": names, "fps": FRAMES_PER_SECOND}

    async def _serve(self, page: Page) -> None:
        self._pages.add(page)
        sender = asyncio.create_task(page.send_on())
        if self._feeding is None or self._feeding.done():
            self._feeding = asyncio.create_task(self._feed_pages())
        try:
            async for message in page.socket:
                if message.type is not WSMsgType.TEXT:
                    break
                await self._take(page, message.data)
                await asyncio.sleep(0)  # others have their turn, however much this page has sent
        finally:
            self._pages.discard(page)
            sender.cancel()

    async def _take(self, page: Page, text: str) -> None:
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            page.answer({"error": "not a JSON object"})
            return
        number = request.get("id") if type(request.get("id")) is int else None
        if not page.allowance.take(time.monotonic()):
            page.answer({"id": number, "error": "too many requests; slow down"})
            return
        if request.get("do") == "watch":
            page.watched = request["session"] if type(request.get("session")) is int else None
            page.answer({"id": number})
            return
        if request.get("do") == "load":  # takes seconds, in which the page goes on
            task = asyncio.create_task(self._do(page, number, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        await self._do(page, number, request)

    async def _do(self, page: Page, number: int | None, request: dict[str, Any]) -> None:
        try:
            answer = await self._commands.do(request)
        except UserError as error:
            answer = {"error": str(error)}
        except Exception:  # a bug of ours: the page and everybody else go on
            log.exception("the dashboard could not do %s", str(request.get("do"))[:40])
            answer = {"error": "that went wrong; the server's log has more"}
        with contextlib.suppress(ConnectionError):
            page.answer({"id": number, **answer})
        if "presets" in answer:
            for other in self._pages - {page}:
                other.show(json.dumps({"presets": answer["presets"]}))

    async def _feed_pages(self) -> None:
        await asyncio.to_thread(importlib.import_module, "rtserver.dashboard.meters")  # numpy takes a while
        turn = 0
        due = time.monotonic()
        while self._pages:
            due = max(due + 1 / FRAMES_PER_SECOND, time.monotonic())  # late pictures are not made up for
            await asyncio.sleep(due - time.monotonic())
            try:
                if turn % STATUS_EVERY == 0:
                    self._show(self._feed.status())
                watched = {page.watched for page in self._pages if page.watched is not None}
                self._show(self._feed.meters(watched))
            except Exception:
                log.exception("the dashboard could not be fed")
                await asyncio.sleep(1.0)
            turn += 1

    def _show(self, picture: dict[str, Any]) -> None:
        text = json.dumps(picture)
        for page in self._pages:
            page.show(text)
