"""Sessions from request to end, without a worker: what it is sent, and what a client gets when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from rtserver import osc
from rtserver.control import session_table
from rtserver.control.admission import Admission, Refused
from rtserver.control.endpoint import Address
from rtserver.control.models import Catalog
from rtserver.control.options import ServerOptions
from rtserver.control.session_table import SessionTable
from rtserver.control.sessions import MAX_SESSIONS, Session
from rtserver.errors import UserError
from rtserver.worker.messages import CloseSession, OpenSession

HOME: Address = ("127.0.0.1", 5000)
REMOTE = osc.Connect(
    transport="osc", rate_hz=48000, max_block_frames=128, channels=1, client_pid=0, model="identity16k"
)


class Worker:
    """Keeps what it is sent; `answer` is called with every session that is to be opened."""

    def __init__(self, answer: Callable[[SessionTable, int], None]) -> None:
        self.sent: list[object] = []
        self.table = SessionTable(ServerOptions(), Catalog(), Admission("all"), self._take)
        self._answer = answer

    def _take(self, message: object) -> None:
        self.sent.append(message)
        if isinstance(message, OpenSession):
            asyncio.get_running_loop().call_soon(self._answer, self.table, message.session)

    def connect(self, event: osc.Connect = REMOTE, address: Address = HOME) -> Coroutine[Any, Any, Session | None]:
        return self.table.open(event, address)


def opens(table: SessionTable, number: int) -> None:
    table.worker_opened(number, "")


def test_a_request_that_is_sent_again_gets_the_same_session() -> None:
    worker = Worker(opens)

    async def play() -> tuple[Session | None, Session | None, Session | None]:
        return await worker.connect(), await worker.connect(), await worker.connect(address=("127.0.0.1", 5001))

    first, again, other = asyncio.run(play())
    assert first is not None and first is again and other is not None
    assert (first.number, other.number, first.generation) == (1, 2, 1)
    assert [type(message) for message in worker.sent] == [OpenSession, OpenSession]


def test_while_it_opens_a_second_request_waits_for_the_first_answer() -> None:
    worker = Worker(lambda table, number: None)

    async def play() -> None:
        first = asyncio.create_task(worker.connect())
        await asyncio.sleep(0)
        assert await worker.connect() is None
        worker.table.worker_opened(1, "")
        assert (await first) is worker.table.find(1)

    asyncio.run(play())


def test_a_session_goes_on_as_the_next_generation() -> None:
    worker = Worker(opens)

    async def play() -> tuple[Session | None, Session | None]:
        first = await worker.connect()
        return first, await worker.connect(replace(REMOTE, session=1, max_block_frames=256, decoder="0"))

    first, resumed = asyncio.run(play())
    assert first is resumed and resumed is not None
    assert (resumed.number, resumed.generation, resumed.max_block_frames) == (1, 2, 256)
    assert worker.sent[1] == CloseSession(1)


def test_a_number_of_somebody_else_is_not_taken_over() -> None:
    worker = Worker(opens)

    async def play() -> Session | None:
        await worker.connect()
        return await worker.connect(replace(REMOTE, session=1), ("127.0.0.1", 5001))

    stranger = asyncio.run(play())
    assert stranger is not None and stranger.number == 2
    assert len(worker.table.by_number) == 2


def test_what_the_worker_refuses_is_told_and_ended() -> None:
    worker = Worker(lambda table, number: table.worker_opened(number, "no such device"))
    with pytest.raises(UserError, match="can't be opened: no such device"):
        asyncio.run(worker.connect())
    assert not worker.table.by_number
    assert worker.sent[-1] == CloseSession(1)
    with pytest.raises(UserError, match="no session 1"):
        worker.table.find(1)


def test_a_worker_that_dies_meanwhile_is_worth_another_try() -> None:
    worker = Worker(lambda table, number: table.worker_ended())
    with pytest.raises(Refused, match="started anew") as refused:
        asyncio.run(worker.connect())
    assert refused.value.code == "loading" and not worker.table.by_number


def test_a_worker_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_table, "OPEN_SECONDS", 0.01)
    worker = Worker(lambda table, number: None)
    with pytest.raises(Refused) as refused:
        asyncio.run(worker.connect())
    assert refused.value.code == "loading" and not worker.table.by_number
    worker.table.worker_opened(1, "")  # too late: nobody waits any more


def test_the_worker_died_and_the_client_comes_back() -> None:
    worker = Worker(opens)

    async def play() -> Session | None:
        first = await worker.connect()
        worker.table.worker_ended()
        assert first is not None and first.state == "waiting"
        return await worker.connect(replace(REMOTE, session=1))

    back = asyncio.run(play())
    assert back is not None
    assert (back.number, back.generation, back.state) == (1, 2, "running")


def test_no_more_than_there_may_be() -> None:
    worker = Worker(opens)

    async def play() -> None:
        for n in range(MAX_SESSIONS):
            await worker.connect(address=("127.0.0.1", 6000 + n))
        await worker.connect(address=("127.0.0.1", 7000))

    with pytest.raises(Refused) as refused:
        asyncio.run(play())
    assert refused.value.code == "full"
    assert len(worker.table.by_number) == MAX_SESSIONS
    worker.table.end_all("over")
    assert not worker.table.by_number
    assert sum(isinstance(message, CloseSession) for message in worker.sent) == MAX_SESSIONS


def test_shared_memory_is_for_this_machine() -> None:
    worker = Worker(opens)
    with pytest.raises(UserError, match=r"needs a client on this machine, found 192\.0\.2\.1"):
        asyncio.run(worker.connect(replace(REMOTE, transport="shm"), ("192.0.2.1", 5000)))
    assert not worker.sent
