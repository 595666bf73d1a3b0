"""Who is let in: names, origins, keys; and what strangers send."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path

import aiohttp
import pytest

from rtserver.dashboard import access
from tests.dashboard.conftest import KEY
from tests.dashboard.page import connected, with_page
from tests.server.harness import ServerProcess


def get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


async def refused(port: int, **headers: str) -> int:
    """The status with which a WebSocket is refused."""
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await client.ws_connect(f"http://127.0.0.1:{port}/live", headers=headers)
    return error.value.status


@pytest.mark.parametrize(
    ("header", "ours"),
    [
        ("127.0.0.1:9000", True),
        ("localhost", True),
        ("[::1]:9000", True),
        ("192.168.1.20:9000", True),
        ("studio:9000", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:9000", False),
        ("127.0.0.1@evil.example", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_a_host_is_an_address_or_a_name_of_this_machine(header: str, ours: bool) -> None:
    assert access.is_ours(header, "studio") is ours


def test_only_this_machine_by_a_name_of_loopback_is_local() -> None:
    assert access.is_local("127.0.0.1", "localhost:9000") and access.is_local("::ffff:127.0.0.1", "127.0.0.1")
    assert not access.is_local("192.168.1.5", "localhost:9000")
    assert not access.is_local("127.0.0.1", "192.168.1.5:9000") and not access.is_local(None, "localhost")


def test_an_answer_fits_its_key_and_its_challenge_only() -> None:
    check = access.KeyCheck(b"secret")
    right = access.answer_to(b"secret", check.challenge).decode()
    assert check.accepts(right)
    assert not check.accepts(access.answer_to(b"Secret", check.challenge).decode())
    assert not access.KeyCheck(b"secret").accepts(right)  # another connection
    assert not any(check.accepts(junk) for junk in ("", "é" * 64, None, 7, [right]))


def test_a_browser_gets_the_page_and_a_program_gets_oscquery(server: ServerProcess) -> None:
    status, headers, body = get(server.port, "/", Accept="text/html,*/*")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and b"rtserver" in body
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "rt" in json.loads(get(server.port, "/")[2])["CONTENTS"]
    assert get(server.port, "/dashboard/app.js")[1]["Content-Type"].startswith("text/javascript")


def test_the_page_asks_for_nothing_from_elsewhere(server: ServerProcess) -> None:
    folder = Path(access.__file__).parent / "static"
    names = [path.name for path in folder.iterdir()]
    assert {"index.html", "style.css", "app.js"} <= set(names)
    for name in names:
        status, headers, body = get(server.port, f"/dashboard/{name}")
        assert status == 200 and "default-src 'self'" in headers["Content-Security-Policy"]
        outside = [url for url in re.findall(rb"https?://[^\s\"'<>`)]+", body) if url != b"http://www.w3.org/2000/svg"]
        assert outside == [], name


@pytest.mark.parametrize(
    "path", ["/dashboard/../feed.py", "/dashboard/%2e%2e%2ffeed.py", "/dashboard/..%5cfeed.py", "/dashboard/feed.py"]
)
def test_no_path_leads_out_of_the_pages(server: ServerProcess, path: str) -> None:
    assert get(server.port, path)[0] in (403, 404)


def test_pages_of_others_and_names_of_others_are_refused(server: ServerProcess) -> None:
    port = server.port
    assert get(port, "/dashboard", Host="evil.example")[0] == 403
    assert asyncio.run(refused(port, Host="evil.example")) == 403
    assert asyncio.run(refused(port, Origin="http://evil.example")) == 403
    assert asyncio.run(refused(port, Origin=f"http://127.0.0.1:{port + 1}")) == 403
    assert asyncio.run(refused(port, Origin="null")) == 403
    assert with_page(port, lambda page: page.next("status"), headers={"Origin": f"http://127.0.0.1:{port}"})


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", '"', "[" * 20000, '{"do":7}', '{"do":"boom"}', '{"id":[],"do":{}}']
)
def test_junk_is_answered_and_the_page_stays(server: ServerProcess, text: str) -> None:
    async def act(page):
        await page.socket.send_str(text)
        return await page.next("error"), await page.next("status")

    error, status = with_page(server.port, act)
    assert error and status["state"] == "ready"


def test_what_is_too_large_or_binary_closes_that_page_alone(server: ServerProcess) -> None:
    async def send(content: str | bytes) -> int | None:
        async with connected(server.port) as page:
            await (page.socket.send_str(content) if isinstance(content, str) else page.socket.send_bytes(content))
            async with asyncio.timeout(10):
                while (await page.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
            return page.socket.close_code

    assert asyncio.run(send('{"do":"' + "x" * 40000 + '"}')) == 1009
    assert asyncio.run(send(b"\0" * 10)) is not None
    assert with_page(server.port, lambda page: page.next("status"))["state"] == "ready"


def test_a_flood_of_requests_is_told_to_slow_down(server: ServerProcess) -> None:
    async def act(page):
        for _ in range(600):
            await page.socket.send_str('{"do":"panic"}')
        return await page.next("error")

    assert "slow down" in with_page(server.port, act)


def test_there_are_only_so_many_pages(server: ServerProcess) -> None:
    async def act() -> int:
        async with aiohttp.ClientSession() as client:
            open_pages = [await client.ws_connect(f"http://127.0.0.1:{server.port}/live") for _ in range(16)]
            status = await refused(server.port)
            for page in open_pages:
                await page.close()
            return status

    assert asyncio.run(act()) == 503


def test_with_a_key_nobody_sees_anything_without_it(keyed: ServerProcess) -> None:
    """And beyond loopback only the page, which tells nothing, comes without."""
    server = keyed

    async def knock(answer: str) -> tuple[list[str], int | None]:
        seen = []
        async with aiohttp.ClientSession() as client:
            socket = await client.ws_connect(f"http://127.0.0.1:{server.port}/live")
            seen += list(await socket.receive_json())
            await socket.send_str(answer)
            async for message in socket:
                seen += list(json.loads(message.data))
            return seen, socket.close_code

    async def knock_all() -> list[tuple[list[str], int | None]]:
        return await asyncio.gather(*map(knock, ('{"answer":"wrong"}', '{"do":"panic"}', "[]", "{")))

    assert asyncio.run(knock_all()) == [(["challenge"], 4401)] * 4

    async def crowd() -> int:
        async with aiohttp.ClientSession() as client:
            knocking = [await client.ws_connect(f"http://127.0.0.1:{server.port}/live") for _ in range(4)]
            status = await refused(server.port)
            for socket in knocking:
                await socket.close()
            return status

    assert with_page(server.port, lambda page: page.next("status"), key=KEY.encode())["sealed"]
    assert with_page(server.port, lambda page: page.next("status"), key=KEY.encode(), host="127.0.0.2")["sealed"]
    assert get(server.port, "/dashboard", Host=f"192.168.1.5:{server.port}")[0] == 200
    for path in ("/status", "/", "/rt"):
        assert get(server.port, path, Host=f"192.168.1.5:{server.port}")[0] == 403
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.2:{server.port}/status", timeout=5)
    assert asyncio.run(crowd()) == 429
