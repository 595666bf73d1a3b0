"""The dashboard's WebSocket as the page speaks it, without a browser."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from rtserver.dashboard.access import answer_to

PATIENCE_S = 20.0


class Page:
    """An open WebSocket. `hello` is what the server said first."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.hello: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    async def next(self, kind: str) -> Any:
        """The content of the next message of a kind; others are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, f"closed with {self.socket.close_code}"
                content = json.loads(message.data)
                if kind in content:
                    return content[kind]

    async def ask(self, what: str, **content: Any) -> dict[str, Any]:
        """The answer to a request."""
        number = next(self._numbers)
        await self.socket.send_json({"do": what, "id": number, **content})
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, f"closed with {self.socket.close_code}"
                answer: dict[str, Any] = json.loads(message.data)
                if answer.get("id") == number:
                    return answer


@asynccontextmanager
async def connected(
    port: int, key: bytes | None = None, host: str = "127.0.0.1", headers: dict[str, str] | None = None
) -> AsyncIterator[Page]:
    """A page that has been let in."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://{host}:{port}/live", headers=headers) as socket,
    ):
        page = Page(socket)
        if key is not None:
            challenge = await page.next("challenge")
            await socket.send_json({"answer": answer_to(key, challenge).decode()})
        page.hello = await page.next("hello")
        yield page


def with_page(port: int, act: Callable[[Page], Awaitable[Any]], **options: Any) -> Any:
    """What `act` gives, done on a page of its own."""

    async def run() -> Any:
        async with connected(port, **options) as page:
            return await act(page)

    return asyncio.run(run())
