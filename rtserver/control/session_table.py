"""The sessions, from a client's request to their end, kept in step with the worker that plays them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from rtserver import osc
from rtserver.control import blending, segments
from rtserver.control.admission import Admission, Refused
from rtserver.control.endpoint import Address
from rtserver.control.models import Catalog, ServedModel
from rtserver.control.options import ServerOptions
from rtserver.control.sessions import MAX_SESSIONS, Session, compute_parts, process_started
from rtserver.errors import UserError
from rtserver.latency import LatencyParts
from rtserver.worker.messages import CloseSession, OpenSession

log = logging.getLogger(__name__)

OPEN_SECONDS = 5.0
DEFAULT_JITTER_MS = 20.0


class SessionTable:
    """All sessions by number. A number is given once, and only to a session that was let in.

    send: queues a message to the worker.
    """

    def __init__(
        self, options: ServerOptions, catalog: Catalog, admission: Admission, send: Callable[[object], None]
    ) -> None:
        self.by_number: dict[int, Session] = {}
        self._options = options
        self._catalog = catalog
        self._admission = admission
        self._send = send
        self._next = 1
        self._openings: dict[int, asyncio.Future[str]] = {}  # what the worker said: "", or why not

    def find(self, number: int) -> Session:
        """The session of a client that has just been heard. UserError if there is none."""
        session = self.by_number.get(number)
        if session is None:
            raise UserError(f"no session {number}: it ended, or never was; connect again")
        session.last_heard = time.monotonic()
        return session

    async def open(self, event: osc.Connect, address: Address) -> Session | None:
        """The session that answers a request; None when the answer is already on its way. UserError if refused."""
        for known in self.by_number.values():
            if known.answers(address, event, time.monotonic()):  # our first answer was lost, or isn't there yet
                return known if known.state == "running" else None
        model = self._catalog.find(event.model)
        parts = self._latency(event, address, model)
        started = process_started(event.client_pid) if event.client_pid and event.transport == "shm" else 0.0
        if started < 0:
            raise UserError(f"process {event.client_pid}, said to be the client, does not exist; send your own id")
        session = self._resumed(event, address)
        if session is None:
            session = self._new(event, address, model, parts, started)
        try:
            another_model = session.model is not model
            session.model, session.parts, session.address, session.request = model, parts, address, event
            session.rate_hz, session.max_block_frames = event.rate_hz, event.max_block_frames
            session.channels, session.client_pid, session.client_started = event.channels, event.client_pid, started
            if event.decoder:
                session.parameters["decoder"] = model.decoder_index(event.decoder)
            if event.seed is not None:
                session.parameters["seed"] = event.seed
            if session.parameters["decoder"] >= max(1, len(model.decoders)):
                session.parameters["decoder"] = 0
            had_a_place = session.reserved
            session.reserved = session.reserved and not another_model
            if not event.offline:
                self._admission.reserve(session, self.by_number.values(), instead=had_a_place)
            self.by_number[session.number] = session
            self._next = max(self._next, session.number + 1)
            await self._start(session, bool(event.offline))
        except UserError:
            self.end(session, "could not be opened")
            raise
        return session

    def worker_opened(self, number: int, why_not: str) -> None:
        """The worker's answer for the generation that was asked for last."""
        opening = self._openings.pop(number, None)
        if opening is not None and not opening.done():
            opening.set_result(why_not)

    def worker_ended(self) -> None:
        """Every segment is over; clients play dry, come back and get a new generation."""
        for opening in self._openings.values():
            if not opening.done():
                opening.set_exception(_worker_is_gone())
        self._openings.clear()
        for session in self.by_number.values():
            segments.remember(session)
            segments.close(session)
            session.state = "waiting"
            session.waiting_since = time.monotonic()

    def end_those_over(self) -> None:
        """End the sessions whose client is gone, or whose place among those that play in time is."""
        now = time.monotonic()
        for session in list(self.by_number.values()):
            segments.forget_name(session)
            why = session.why_over(now) or ("closed" if segments.closed_by_client(session) else "")
            why = why or self._admission.why_not_live(session, self.by_number.values())
            if why:
                self.end(session, why)

    def end_all(self, why: str) -> None:
        for session in list(self.by_number.values()):
            self.end(session, why)

    def end(self, session: Session, why: str) -> None:
        if self.by_number.pop(session.number, None) is None:
            return
        log.info("session %d ended: %s", session.number, why)
        segments.close(session)
        self._send(CloseSession(session.number))
        self.worker_opened(session.number, why)

    def _latency(self, event: osc.Connect, address: Address, model: ServedModel) -> LatencyParts:
        jitter_ms = 0.0
        if event.transport == "osc":
            jitter_ms = DEFAULT_JITTER_MS if event.jitter_ms is None else event.jitter_ms
        elif address[0] not in ("127.0.0.1", "::1", self._options.host):
            raise UserError(f"shared memory needs a client on this machine, found {address[0]}; connect with osc")
        margin = event.margin or self._options.margin
        return compute_parts(
            model, event.rate_hz, event.max_block_frames, margin, jitter_ms, event.wanted_latency_frames
        )

    def _resumed(self, event: osc.Connect, address: Address) -> Session | None:
        """The session to continue, made ready for a new generation."""
        session = self.by_number.get(event.session) if event.session else None
        if session is None:
            return None
        # The socket, not only the process: a DAW has many clients, and after a restart of the server one may hold the
        # number that another had before.
        mine = session.client_pid == event.client_pid and session.address == address
        if not mine or session.transport != event.transport:
            return None  # somebody else's: a new session, with the parameters that the client will send
        segments.remember(session)
        segments.close(session)
        self._send(CloseSession(session.number))
        return session

    def _new(
        self, event: osc.Connect, address: Address, model: ServedModel, parts: LatencyParts, client_started: float
    ) -> Session:
        if len(self.by_number) >= MAX_SESSIONS:
            raise Refused("full", f"{MAX_SESSIONS} sessions are open, the most there can be; end one first")
        return Session(
            number=self._next,
            transport=event.transport,
            model=model,
            rate_hz=event.rate_hz,
            max_block_frames=event.max_block_frames,
            channels=event.channels,
            parts=parts,
            client_pid=event.client_pid,
            client_started=client_started,
            address=address,
            request=event,
            parameters={"temperature": self._options.temperature, "seed": 0, "decoder": 0},
        )

    async def _start(self, session: Session, offline: bool) -> None:
        """Open the next generation of a session in the worker."""
        session.generation += 1
        session.state = "opening"
        session.last_heard = time.monotonic()
        if not session.remote:
            try:
                segments.create(session, offline)
            except (OSError, RuntimeError, ValueError) as error:
                raise UserError(f"shared memory can't be had: {error}; free some, or use smaller blocks") from None
        opening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._openings[session.number] = opening
        self._send(
            OpenSession(
                session=session.number,
                model=session.model.name,
                segment=session.segment_name if not session.remote else None,
                geometry=session.geometry,
                jitter_frames=session.parts.jitter,
                seed=int(session.parameters["seed"]),
                parameters=dict(session.parameters),
                blend=blending.kept(session, self.by_number),
                render_thread=session.render_thread,
            )
        )
        await asyncio.wait({opening}, timeout=OPEN_SECONDS)
        self._openings.pop(session.number, None)
        if not opening.done():  # one that hangs is replaced within seconds
            raise _worker_is_gone()
        why_not = opening.result()
        if why_not:
            raise UserError(f"the session can't be opened: {why_not}; try again, or look at `rtserver status`")
        session.state = "running"
        session.running_since = session.last_heard = time.monotonic()
        log.info(
            "session %d.%d: %s, %s, %d Hz, blocks of %d, %d channels, from %s",
            session.number,
            session.generation,
            session.model.name,
            session.transport,
            session.rate_hz,
            session.max_block_frames,
            session.channels,
            f"process {session.client_pid}" if not session.remote else session.address[0],
        )


def _worker_is_gone() -> Refused:
    return Refused("loading", "the audio worker is being started anew; try again in a moment")
