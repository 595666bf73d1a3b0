"""The control process: answers OSC and HTTP, keeps the sessions, feeds the worker, and starts it anew when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rtserver import osc
from rtserver.control import blending, segments, status
from rtserver.control.admission import Admission, Refused
from rtserver.control.endpoint import Address, OscEndpoint
from rtserver.control.hot_load import HotLoader
from rtserver.control.listening import bind
from rtserver.control.models import Catalog
from rtserver.control.options import ServerOptions
from rtserver.control.presets import SessionPresets
from rtserver.control.priority import lower_priority
from rtserver.control.sessions import MAX_SESSIONS, Session, compute_parts, process_started
from rtserver.control.supervisor import WorkerSupervisor
from rtserver.control.worker_process import WorkerProcess
from rtserver.errors import UserError
from rtserver.worker.messages import (
    Blend,
    CloseSession,
    ModelLoaded,
    OpenSession,
    Ready,
    Report,
    SessionOpened,
    SetParameter,
)

if TYPE_CHECKING:
    from rtserver.control.http import HttpServer

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
OPEN_SECONDS = 5.0
HTTP_AFTER_SECONDS = 1.0


class Server:
    """Everything but audio. Lives in one event loop."""

    def __init__(
        self,
        options: ServerOptions,
        progress: Callable[[str], None],
        udp: socket.socket,
        tcp: list[socket.socket],
        worker: WorkerProcess | None = None,
    ) -> None:
        self.options = options
        self.catalog = Catalog()
        self.sessions: dict[int, Session] = {}
        self.started = time.time()
        self.state = "loading"
        self.worker_state = "starting"
        self.worker: Ready | None = None
        self.report = Report({}, 0, 0, {})
        self.worker_models: set[str] = set()
        self.admission = Admission(options.admit)
        self.worker_devices: dict[str, str] = {}  # of each model: where its decoders run
        self.osc_counts: Counter[str] = Counter()
        self.osc_refused: Counter[str] = Counter()
        self._progress = progress
        self._next_session = 1
        self._openings: dict[int, asyncio.Future[str]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._models_ready = asyncio.Event()
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._failure: UserError | None = None
        self._checker = osc.SealChecker(options.key) if options.key else None
        self._sealer = osc.Sealer(options.key) if options.key else None
        self.endpoint = OscEndpoint(udp, self._on_datagram)
        self._tcp = tcp
        self._http: HttpServer | None = None
        self._supervisor = WorkerSupervisor(options.for_worker, self._on_worker_message, self._on_worker_exit, worker)
        self.hot_loader = HotLoader(self.catalog, options.precision, self._supervisor.send)
        self.presets = SessionPresets(self.set_parameter)

    @property
    def precision(self) -> str:
        """What the networks served run in; several, where `auto` is not the same for all."""
        return self.catalog.precision(self.options.precision)

    @property
    def supervisor(self) -> WorkerSupervisor:
        return self._supervisor

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self, on_ready: Callable[[Server], None] = lambda server: None) -> None:
        """Serve until `stop`. UserError when a model is refused or the worker can't start."""
        self._supervisor.start()  # at the normal nice level: the supervisor's thread was started by it
        self._in_background(self._load)
        lower_priority()
        ticking = asyncio.create_task(self._tick())
        ready = asyncio.create_task(self._announce(on_ready))
        http = asyncio.create_task(self._start_http())
        try:
            await self._stop.wait()
        finally:
            ticking.cancel()
            ready.cancel()
            http.cancel()
            for session in list(self.sessions.values()):
                self._end(session, "the server stops")
            await self._supervisor.stop()
            if self._http is not None:
                await self._http.stop()
            for listening in self._tcp:
                listening.close()
            self.endpoint.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._stop.set()

    def _fail(self, error: UserError) -> None:
        self._failure = self._failure or error
        self._stop.set()

    def _in_background(self, job: Callable[..., Callable[[], None]], *arguments: str) -> None:
        """Do something slow about models in a thread of its own, so that Ctrl-C needn't wait for it.

        What it gives is called in the event loop.
        """
        loop = asyncio.get_running_loop()

        def run() -> None:
            lower_priority()
            try:
                then = job(*arguments)
            except UserError as error:
                then = partial(self._fail, error)
            except Exception as error:
                why = UserError(f"a model can't be loaded: {type(error).__name__}: {error}", exit_code=1)
                then = partial(self._fail, why)
            with contextlib.suppress(RuntimeError):  # stopped meanwhile
                loop.call_soon_threadsafe(then)

        threading.Thread(target=run, name="loader", daemon=True).start()

    def _load(self) -> Callable[[], None]:
        self.catalog.load_all(list(self.options.models), self._progress, self.options.precision)
        return self._models_ready.set

    def _reload(self, name: str) -> Callable[[], None]:
        return partial(self._supervisor.send, self.catalog.reload(name, self.options.precision).message)

    async def _announce(self, on_ready: Callable[[Server], None]) -> None:
        await self._models_ready.wait()
        if self.worker is not None:
            self._feed_worker()
        while self.worker is None or {model.name for model in self.catalog} - self.worker_models:
            await asyncio.sleep(0.02)
        self.state = "ready"
        self._ready.set()
        on_ready(self)

    async def _start_http(self) -> None:
        """Once the models run or take long: aiohttp needs a quarter of a second, in which they could run already.

        Whoever asks earlier waits in the socket's queue.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), HTTP_AFTER_SECONDS)
        module = await asyncio.to_thread(importlib.import_module, "rtserver.control.http")
        http: HttpServer = module.HttpServer(self, self._tcp)
        self._http = http  # before it starts: it may be stopped halfway
        await http.start()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            for session in list(self.sessions.values()):
                segments.forget_name(session)
                why = session.why_over(now) or ("closed" if segments.closed_by_client(session) else "")
                why = why or self.admission.why_not_live(session, self.sessions.values())
                if why:
                    self._end(session, why)

    # --- worker ---------------------------------------------------------------------------------------------------

    def _feed_worker(self) -> None:
        self.worker_models.clear()
        for model in self.catalog:
            self._supervisor.send(model.message)

    def _on_worker_message(self, message: object) -> None:
        match message:
            case Ready():
                self.worker = message
                self.worker_state = "running"
                self.admission.has_cores(message.scheduling)
                if self._models_ready.is_set():
                    self._feed_worker()
            case ModelLoaded(name=name, error="", cost=cost, device=device):
                self.hot_loader.takes(message)
                self.admission.learn(name, cost)
                self.worker_models.add(name)
                self.worker_devices[name] = device
            case ModelLoaded() if self.hot_loader.takes(message):
                pass
            case ModelLoaded(name=name, gone=True):
                log.warning("prepared weights of %s are gone; preparing them again", name)
                self._in_background(self._reload, name)
            case ModelLoaded(name=name, error=error):
                self._fail(UserError(f"model {name} can't be run: {error}"))
            case SessionOpened(session=number, error=error):
                opening = self._openings.pop(number, None)
                if opening is not None and not opening.done():
                    opening.set_result(error)
            case Report(sessions=sessions):
                self.report = message
                for number, stats in sessions.items():
                    session = self.sessions.get(number)
                    if session is not None:
                        session.worker_stats = stats
                        silent_ms = stats["client_heartbeat_age_ms"]
                        if silent_ms is not None:
                            session.last_heard = max(session.last_heard, time.monotonic() - silent_ms / 1000)
                self.admission.hear(message, self.sessions.values())

    def _on_worker_exit(self, why: str) -> None:
        """The worker died: every segment is over; clients play dry, come back and get a new generation."""
        log.warning("the audio worker ended (%s); starting it anew", why)
        if self.worker is None and self._supervisor.restarts >= 3:
            self._fail(UserError(f"the audio worker can't start ({why}); `rtserver doctor` looks for the cause", 1))
        self.worker = None
        self.worker_state = "restarting"
        self.worker_models.clear()
        for opening in self._openings.values():
            if not opening.done():
                opening.set_result("the audio worker died")
        self._openings.clear()
        self.hot_loader.worker_ended()
        for session in self.sessions.values():
            segments.remember(session)
            segments.close(session)
            session.state = "waiting"
            session.waiting_since = time.monotonic()

    # --- OSC ------------------------------------------------------------------------------------------------------

    def _on_datagram(self, data: bytes, address: Address) -> None:
        for event in osc.decode(data, "server", self._checker):
            if isinstance(event, osc.Refusal):
                self.osc_refused[event.code] += 1
                if event.answered:
                    self._reply(event.answer, address)
                continue
            self.osc_counts[type(event).__name__] += 1
            try:
                self._on_event(event, address)
            except UserError as error:
                self._reply(osc.ErrorReply(getattr(error, "code", "refused"), str(error)), address)

    def _reply(self, event: osc.Event, address: Address) -> None:
        try:
            datagram = osc.encode(event, self._sealer)
        except ValueError as error:  # a status that outgrew a datagram
            datagram = osc.encode(osc.ErrorReply("too_large", f"{error}; ask over HTTP"), self._sealer)
        self.endpoint.send(datagram, address)

    def _on_event(self, event: osc.Event, address: Address) -> None:
        match event:
            case osc.Connect():
                task = asyncio.create_task(self._connect(event, address))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)
            case osc.Disconnect(session=number):
                self._end(self._session(number), "disconnected")
            case osc.SetParameter(session=number, name=name, value=value):
                self.set_parameter(self._session(number), name, value)
            case osc.Blend(session=number, amount=amount, source=source):
                self.blend(self._session(number), amount, source)
            case osc.StatusRequest():
                self._reply(osc.StatusReply(json.dumps(status.snapshot(self))), address)
            case osc.ModelsRequest():
                if not self._models_ready.is_set():  # who asks for a session's default would get a probe
                    raise Refused("loading", "the packs are still being read; try again in a moment")
                self._reply(osc.ModelsReply(json.dumps(self.catalog.description)), address)
            case osc.PresetSave(session=number, name=name):
                self.presets.save(self._session(number), name)
            case osc.PresetRecall(session=number, name=name):
                self.presets.recall(self._session(number), name)
            case osc.PresetDelete(name=name):
                self.presets.delete(name)
            case osc.PresetsRequest():
                self._reply(osc.PresetsReply(json.dumps(self.presets.names())), address)

    def _session(self, number: int) -> Session:
        session = self.sessions.get(number)
        if session is None:
            raise UserError(f"no session {number}: it ended, or never was; connect again")
        session.last_heard = time.monotonic()
        return session

    def set_parameter(self, session: Session, name: str, value: float | int | str) -> None:
        """A value that the table allows. UserError if the session's model has no such decoder."""
        number = segments.number_of(session.model, name, value)
        if name != "panic":
            session.parameters[name] = number
        if session.segment is not None:
            segments.set_parameter(session, name, number)
        elif session.remote:
            if name in osc.CLIENT_PARAMETERS:
                self._reply(osc.SetParameter(session.number, name, value), session.address)
            else:
                self._supervisor.send(SetParameter(session.number, name, number))

    def blend(self, session: Session, amount: float, source: int) -> None:
        """Mix another session's latents into those of a session. UserError if theirs don't fit."""
        session.blend = blending.checked(session, self.sessions.get(source), amount, source)
        self._supervisor.send(Blend(session.number, *session.blend))

    # --- sessions -------------------------------------------------------------------------------------------------

    async def _connect(self, event: osc.Connect, address: Address) -> None:
        try:
            session = await self._open(event, address)
        except UserError as error:
            self._reply(osc.ErrorReply(getattr(error, "code", "refused"), str(error)), address)
            return
        if session is None:
            return
        connected = osc.Connected(
            session=session.number,
            shm="" if session.remote else session.segment_name,
            generation=session.generation,
            audio_port=self.worker.audio_port if session.remote and self.worker is not None else 0,
            **session.parts.to_dict(),
        )
        self._reply(connected, address)

    async def _open(self, event: osc.Connect, address: Address) -> Session | None:
        """The session that answers a request; None when the answer is already on its way."""
        if self.state != "ready" or self.worker is None or {m.name for m in self.catalog} - self.worker_models:
            raise Refused("loading", "the server is still loading its models; try again in a moment")
        for known in self.sessions.values():
            if known.answers(address, event, time.monotonic()):  # our first answer was lost, or isn't there yet
                return known if known.state == "running" else None
        model = self.catalog.find(event.model)
        margin = event.margin or self.options.margin
        jitter_ms = (20.0 if event.jitter_ms is None else event.jitter_ms) if event.transport == "osc" else 0.0
        if event.transport == "shm" and address[0] not in ("127.0.0.1", "::1") and address[0] != self.options.host:
            raise UserError(f"shared memory needs a client on this machine, found {address[0]}; connect with osc")
        parts = compute_parts(
            model, event.rate_hz, event.max_block_frames, margin, jitter_ms, event.wanted_latency_frames
        )
        started = process_started(event.client_pid) if event.client_pid and event.transport == "shm" else 0.0
        if started < 0:
            raise UserError(f"process {event.client_pid}, said to be the client, does not exist; send your own id")
        session = self._resumed(event, address)
        if session is None:
            if len(self.sessions) >= MAX_SESSIONS:
                raise Refused("full", f"{MAX_SESSIONS} sessions are open, the most there can be; end one first")
            session = Session(
                number=self._next_session,
                transport=event.transport,
                model=model,
                rate_hz=event.rate_hz,
                max_block_frames=event.max_block_frames,
                channels=event.channels,
                parts=parts,
                client_pid=event.client_pid,
                client_started=started,
                address=address,
                request=event,
                parameters={"temperature": self.options.temperature, "seed": 0, "decoder": 0},
            )
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
                self.admission.reserve(session, self.sessions.values(), instead=had_a_place)
            self.sessions[session.number] = session  # a number is not spent on one that was refused
            self._next_session = max(self._next_session, session.number + 1)
            await self._start(session, bool(event.offline))
        except UserError:
            self._end(session, "could not be opened")
            raise
        return session

    def _resumed(self, event: osc.Connect, address: Address) -> Session | None:
        """The session to continue, made ready for a new generation."""
        session = self.sessions.get(event.session) if event.session else None
        if session is None:
            return None
        # The socket, not only the process: a DAW has many clients, and after a restart of the server one may hold the
        # number that another had before.
        mine = session.client_pid == event.client_pid and session.address == address
        if not mine or session.transport != event.transport:
            return None  # somebody else's: a new session, with the parameters that the client will send
        segments.remember(session)
        segments.close(session)
        self._supervisor.send(CloseSession(session.number))
        return session

    async def _start(self, session: Session, offline: bool = False) -> None:
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
        jitter = session.parts.jitter
        self._supervisor.send(
            OpenSession(
                session=session.number,
                model=session.model.name,
                segment=session.segment_name if not session.remote else None,
                geometry=session.geometry,
                jitter_frames=jitter,
                seed=int(session.parameters["seed"]),
                parameters=dict(session.parameters),
                blend=blending.kept(session, self.sessions),
                render_thread=session.render_thread,
            )
        )
        await asyncio.wait({opening}, timeout=OPEN_SECONDS)
        self._openings.pop(session.number, None)
        if self.worker is None or not opening.done():  # one that hangs is replaced within seconds
            raise Refused("loading", "the audio worker is being started anew; try again in a moment")
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

    def _end(self, session: Session, why: str) -> None:
        if self.sessions.pop(session.number, None) is None:
            return
        log.info("session %d ended: %s", session.number, why)
        segments.close(session)
        self._supervisor.send(CloseSession(session.number))
        opening = self._openings.pop(session.number, None)
        if opening is not None and not opening.done():
            opening.set_result(why)


async def serve(
    options: ServerOptions,
    progress: Callable[[str], None] = lambda name: None,
    on_ready: Callable[[Server], None] = lambda server: None,
    worker: WorkerProcess | None = None,
) -> None:
    """Bind, load, serve until SIGINT or SIGTERM. UserError when that can't be.

    worker: the first one, if it was started already; it must have been given `options.for_worker`.
    """
    udp, tcp = bind(options.host, options.port, options.key is not None)
    segments.sweep()
    server = Server(options, progress, udp, tcp, worker)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends the loop
            loop.add_signal_handler(number, server.stop)
    await server.run(on_ready)
