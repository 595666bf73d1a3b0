"""The audio worker process: owns the native stream threads, the encoder thread and the sockets of remote audio.

Everything slow (parsing models, HTTP, OSC control) happens in the control process; what arrives here over the pipe is
ready to run. The worker ends when told, when the pipe breaks because the control process died, or when its encoder
thread fails: it is then started anew.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtserver import networks, prepared
from rtserver.worker import cores, cost, locked_memory
from rtserver.worker.encoder_thread import FIFO_PRIORITY, Echo, EncoderThread, HopEncoder
from rtserver.worker.messages import (
    FLOAT_PARAMETERS,
    Blend,
    CloseSession,
    Cost,
    Listen,
    LoadModel,
    ModelLoaded,
    OpenSession,
    Ready,
    Report,
    SessionOpened,
    SetParameter,
    Stop,
    WorkerOptions,
)
from rtserver.worker.scheduling import Scheduler

REPORT_SECONDS = 0.25
LISTEN_SECONDS = 1.0
REMOTE_FIELDS = ("offline", "packets_lost", "packets_late", "packets_refused", "frames_concealed")
ANY_CORE = -1
NOT_REALTIME = "without real-time priority the system chooses better"
SWITCH_SECONDS = 0.0005  # the pipe thread gives the interpreter back to the encoder thread this soon


class _LoadedModel:
    """A model that is ready to be given to sessions. `encoder` opens a stream."""

    def __init__(
        self,
        message: LoadModel,
        encoder: Any = None,
        voices: list[Any] | None = None,
        cost: Cost = Cost(),  # noqa: B008  frozen
        device: str = "cpu",
    ) -> None:
        self.message = message
        self.encoder = encoder
        self.voices = voices or []
        self.cost = cost
        self.device = device

    @property
    def failed(self) -> bool:
        """Whether the GPU of its decoders has failed, which none comes back from."""
        return any(getattr(voice, "failed", False) for voice in self.voices)

    def open_stream(self) -> HopEncoder:
        if self.encoder is None:
            return Echo()
        stream: HopEncoder = self.encoder.fork()
        return stream


class Worker:
    """Answers the control process's messages; lives in the worker process's main thread."""

    def __init__(self, pipe: Connection, options: WorkerOptions) -> None:
        from rtserver import _engine

        self._pipe = pipe
        self._options = options
        self._scheduler = Scheduler(options.realtime)
        # Real-time threads stay where they are put; ordinary ones the system must be able to move out of the way of
        # whatever else runs there.
        self._cores = cores.plan("switched off" if not options.pin else "" if self._scheduler.granted else NOT_REALTIME)
        self._memory = locked_memory.lock(locked_memory.limit_bytes())
        _engine.plan_threads(
            highest_priority=self._scheduler.highest if self._scheduler.takes_itself else 0,
            decoder_cores=list(self._cores.decoders) or [ANY_CORE] * self._cores.render_threads,
            other_cores=list(self._cores.others),
        )
        self._native = _engine.Worker(realtime=options.realtime)
        self._hub: Any = None
        self._hub_error = ""
        try:
            self._hub = _engine.RemoteHub(options.audio_host, 0, options.key, options.realtime)
        except (OSError, RuntimeError) as error:
            self._hub_error = str(error)
        self._encoder = EncoderThread(self._native, self._scheduler, self._cores.encoder)
        self._models: dict[str, _LoadedModel] = {}
        self._encoders: dict[str, Any] = {}
        self._remote: dict[int, Any] = {}  # private segments of remote sessions
        self._shared: dict[int, Any] = {}
        self._listen_until = 0.0
        isas = _engine.available_isas()
        self._isa = os.environ.get("RTSERVER_ISA") or (isas[-1] if isas else "none")

    def run(self) -> None:
        """Serve until told to stop or until the control process is gone."""
        from rtserver import _engine

        # Not by rtkit: this thread loads models, and would be ended for running so long.
        if self._scheduler.takes_itself:
            self._scheduler.want(FIFO_PRIORITY - 1)
        self._encoder.start()
        self._scheduler.look_after(_engine.audio_threads)
        audio_port = self._hub.port if self._hub else 0
        due = time.monotonic()
        try:
            self._pipe.send(
                Ready(
                    os.getpid(),
                    self._scheduler.granted,
                    audio_port,
                    self._isa,
                    self._scheduler.to_dict() | self._cores.to_dict(),
                    self._memory.to_dict(),
                )
            )
            while self._encoder.alive:
                if self._pipe.poll(max(0.0, due - time.monotonic())):
                    message = self._pipe.recv()
                    if isinstance(message, Stop):
                        break
                    self._handle(message)
                elif any(model.failed for model in self._models.values()):
                    print("rtserver: the GPU failed: the worker ends, to be started anew", file=sys.stderr, flush=True)
                    break
                elif time.monotonic() >= due:
                    due = time.monotonic() + REPORT_SECONDS
                    self._pipe.send(self._report())
        except (EOFError, BrokenPipeError, ConnectionError):  # the control process is gone: nobody else would tidy up
            for segment in self._shared.values():
                segment.set("closed_by_server", 1)  # first of all: ending takes time, and heartbeats go on until then
                segment.unlink_name(segment.name)
        finally:
            self._shut_down()

    def _shut_down(self) -> None:
        self._encoder.stop()
        for session in [*self._shared, *self._remote]:
            self._close(session)
        self._native.stop()
        if self._hub is not None:
            self._hub.stop()
        if self._encoder.failure is not None:
            print(f"rtserver: the encoder thread failed: {self._encoder.failure!r}", file=sys.stderr, flush=True)

    def _handle(self, message: object) -> None:
        match message:
            case LoadModel():
                self._load(message)
            case OpenSession():
                self._open(message)
            case CloseSession(session=session):
                self._close(session)
            case Listen():
                self._listen_until = time.monotonic() + LISTEN_SECONDS
            case Blend(session=session, amount=amount, source=source):
                self._encoder.blend(session, amount, source)
            case SetParameter(session=session, name=name, value=value):
                segment = self._remote.get(session)
                if segment is not None:
                    _set(segment, name, value)

    def _load(self, message: LoadModel) -> None:
        try:
            with self._scheduler.at_ease():
                loaded = self._ready(message) if message.kind == "model" else _LoadedModel(message)
            self._models[message.name] = loaded
            answer = ModelLoaded(message.name, cost=loaded.cost, device=loaded.device)
        except prepared.ImageGone as caught:
            answer = ModelLoaded(message.name, str(caught), gone=True)
        except Exception as caught:  # a pack that control accepted but the engine refuses
            answer = ModelLoaded(message.name, f"{type(caught).__name__}: {caught}")
        gc.collect()
        gc.freeze()  # nothing that lives as long as the model is ever looked at by the collector again
        self._pipe.send(answer)

    def _ready(self, message: LoadModel) -> _LoadedModel:
        """The networks of a pack, warm. The engine keeps copies in its own layout: the mapping ends here."""
        model = prepared.open_image(message.image, Path(message.pack), message.sha256)
        key = model.encoder_sha256  # packs with the same encoder share one
        if key not in self._encoders:
            self._encoders[key] = networks.encoder(model, self._options.device, self._options.precision)
        device = self._options.device
        voices = []
        for name in model.decoders:
            voice, reason = networks.decoder_on(model, name, self._options.precision, device)
            if reason:
                print(f"rtserver: --device {device}: {reason}; decoders run on the CPU", file=sys.stderr, flush=True)
                device = "cpu"
            voices.append(voice)
        networks.warm_up(model, self._encoders[key], voices)
        measured = cost.measure(self._encoders[key], voices)
        return _LoadedModel(message, self._encoders[key], voices, measured, device)

    def _open(self, message: OpenSession) -> None:
        from rtserver import _engine

        session = message.session
        self._close(session)
        try:
            model = self._models[message.model]
            if message.segment is not None:
                segment = _engine.Segment.open(message.segment)
                self._shared[session] = segment
            else:
                if self._hub is None:
                    raise RuntimeError(f"no socket for remote audio: {self._hub_error}")
                segment = _engine.Segment.create(None, **message.geometry)
                for name, value in message.parameters.items():
                    _set(segment, name, value)
                self._remote[session] = segment
            self._encoder.add(session, model.open_stream())
            self._encoder.blend(session, *message.blend)
            self._native.open_session(
                session,
                segment,
                model.message.kind,
                model.message.hop_samples,
                model.message.lookahead_samples,
                model.message.encoding,
                model.voices,
                message.seed,
                message.render_thread,
            )
            if message.segment is None:
                self._hub.add(session, segment, message.jitter_frames)
        except Exception as error:
            self._close(session)
            self._pipe.send(SessionOpened(session, f"{type(error).__name__}: {error}"))
            return
        self._pipe.send(SessionOpened(session))

    def _close(self, session: int) -> None:
        if session in self._remote and self._hub is not None:
            self._hub.remove(session)
        if session in self._shared or session in self._remote:
            self._native.close_session(session)
        self._encoder.remove(session)
        self._shared.pop(session, None)
        self._remote.pop(session, None)

    def _report(self) -> Report:
        served = set(self._native.sessions())
        sessions = {session: dict(self._native.stats(session)) for session in served & {*self._shared, *self._remote}}
        for session, segment in self._remote.items():  # what the control process can't read itself
            if session in sessions:
                sessions[session].update({name: segment.get(name) for name in REMOTE_FIELDS})
        audio = dict(self._hub.stats()) if self._hub is not None else {}
        return Report(
            sessions,
            self._encoder.hops,
            self._encoder.encoder_ns,
            audio,
            self._scheduler.refused,
            self._native.ensembles(),
            self._heard(),
        )

    def _heard(self) -> dict[int, tuple[Any, Any]]:
        """A twentieth of a second of the audio that is nowhere but here; nothing unless somebody looks."""
        if time.monotonic() > self._listen_until:
            return {}
        return {
            session: (segment.recent("input", frames), segment.recent("output", frames))
            for session, segment in self._remote.items()
            for frames in (segment.get("sample_rate_hz") // 20,)
        }


def _set(segment: Any, name: str, value: float) -> None:
    """Write a parameter in the type of its field; `panic` is a counter."""
    if name == "panic":
        value = (segment.get(name) + int(value)) % 2**32
    segment.set(name, float(value) if name in FLOAT_PARAMETERS else int(value))


def main(pipe: Connection, options: WorkerOptions) -> None:
    """Entry point of the process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # may reach the whole group; the control process says when to end
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # a collection holds the interpreter, and with it the encoder thread, for milliseconds
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        worker = Worker(pipe, options)
    except Exception as error:
        print(f"rtserver: the audio worker can't start: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    worker.run()
