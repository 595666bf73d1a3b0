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
from rtserver.control.session_table import SessionTable
from rtserver.control.sessions import Session
from rtserver.control.supervisor import WorkerSupervisor
from rtserver.control.worker_process import WorkerProcess
from rtserver.errors import UserError
from rtserver.worker.messages import (
    Blend,
    ModelLoaded,
    Ready,
    Report,
    SessionOpened,
    SetParameter,
)

if TYPE_CHECKING:
    from rtserver.control.http import HttpServer

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
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
        self.table = SessionTable(options, self.catalog, self.admission, self._supervisor.send)
        self.presets = SessionPresets(self.set_parameter)

    @property
    def precision(self) -> str:
        """What the networks served run in; several, where `auto` is not the same for all."""
        return self.catalog.precision(self.options.precision)

    @property
    def sessions(self) -> dict[int, Session]:
        return self.table.by_number

    @property
    def _plays(self) -> bool:
        """Whether the worker runs, with every model."""
        return self.state == "ready" and self.worker is not None and not self._missing_models

    @property
    def _missing_models(self) -> set[str]:
        return {model.name for model in self.catalog} - self.worker_models

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
            self.table.end_all("the server stops")
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
        while self.worker is None or self._missing_models:
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
            self.table.end_those_over()

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
                self.table.worker_opened(number, error)
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
        log.warning("the audio worker ended (%s); starting it anew", why)
        if self.worker is None and self._supervisor.restarts >= 3:
            self._fail(UserError(f"the audio worker can't start ({why}); `rtserver doctor` looks for the cause", 1))
        self.worker = None
        self.worker_state = "restarting"
        self.worker_models.clear()
        self.hot_loader.worker_ended()
        self.table.worker_ended()

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
                self.table.end(self.table.find(number), "disconnected")
            case osc.SetParameter(session=number, name=name, value=value):
                self.set_parameter(self.table.find(number), name, value)
            case osc.Blend(session=number, amount=amount, source=source):
                self.blend(self.table.find(number), amount, source)
            case osc.StatusRequest():
                self._reply(osc.StatusReply(json.dumps(status.snapshot(self))), address)
            case osc.ModelsRequest():
                if not self._models_ready.is_set():  # who asks for a session's default would get a probe
                    raise Refused("loading", "the packs are still being read; try again in a moment")
                self._reply(osc.ModelsReply(json.dumps(self.catalog.description)), address)
            case osc.PresetSave(session=number, name=name):
                self.presets.save(self.table.find(number), name)
            case osc.PresetRecall(session=number, name=name):
                self.presets.recall(self.table.find(number), name)
            case osc.PresetDelete(name=name):
                self.presets.delete(name)
            case osc.PresetsRequest():
                self._reply(osc.PresetsReply(json.dumps(self.presets.names())), address)

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

    async def _connect(self, event: osc.Connect, address: Address) -> None:
        try:
            if not self._plays:
                raise Refused("loading", "the server is still loading its models; try again in a moment")
            session = await self.table.open(event, address)
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
