"""The Python client: a thin shell around the same native bridge that the plugin uses.

`Bridge.process` is the audio side: it never waits (unless offline) and may be called from a thread of its own. A
control thread watches the server, comes back to it with the same session, and forwards parameters.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from rtserver import osc
from rtserver.connection import ControlConnection, NoServer, ServerRefused
from rtserver.errors import UserError
from rtserver.latency import LatencyParts

__all__ = ["Bridge", "NoServer", "ServerRefused", "UserError"]

Frames = npt.NDArray[np.float32]  # [frames] or [frames, channels]

LOOK_SECONDS = 0.05  # how often the control thread looks after the server and forwards parameters
STALE_SECONDS = 1.0  # without a heartbeat for so long, connect anew; the bridge plays dry long before
RETRY_SECONDS = 0.5
CONNECT_SECONDS = 3.0
READY_MS = 5000
REPEATS = 3  # of a parameter over OSC, where datagrams get lost
FALLBACKS = ("dry", "silence")


class Bridge:
    """A stream through a running server. A context manager; made, it is connected and has a fixed latency.

    rate and block: what the host runs at, and the most frames it will hand in at once. channels: 1 or 2, in and out;
    the network hears their mean. transport: "shm" on this machine, "osc" anywhere. model: one that the server
    serves, None for its first. offline: `process` waits for the translation instead of playing dry (a bounce).
    seed, decoder and margin are the server's choice if None. latency_frames: insist on this latency; 0 takes any.
    Raises UserError (NoServer, ServerRefused) when no server answers or it refuses.
    """

    def __init__(
        self,
        port: int = 9000,
        sample_rate_hz: int = 48000,
        block_frames: int = 128,
        channels: int = 1,
        transport: Literal["shm", "osc"] = "shm",
        *,
        host: str = "127.0.0.1",
        model: str | None = None,
        decoder: str | None = None,
        seed: int | None = None,
        offline: bool = False,
        offline_deadline_s: float = 30.0,
        key: bytes | str | None = None,
        margin: str | None = None,
        jitter_ms: float | None = None,
        latency_frames: int = 0,
        wait_s: float = CONNECT_SECONDS,
    ) -> None:
        from rtserver import _engine

        self._engine = _engine
        self._key = key.encode() if isinstance(key, str) else key
        self._host, self._port, self._offline = host, port, offline
        self._request = osc.Connect(
            transport=transport,
            rate_hz=sample_rate_hz,
            max_block_frames=block_frames,
            channels=channels,
            client_pid=os.getpid(),
            wanted_latency_frames=latency_frames,
            model=model or "",
            margin=margin,
            decoder=decoder,
            seed=seed,
            jitter_ms=jitter_ms,
            offline=1 if offline else None,
        )
        self._decoders: list[str] = []
        self._parameters: dict[str, float | int] = {}  # what was set here, for the next connection
        self._unsent: dict[str, int] = {}  # how often a parameter has still to be sent over OSC
        self._warnings: list[str] = []
        self._link: Any = None
        self._segment: Any = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self.reconnects = 0

        self._connection = ControlConnection(host, port, self._key)
        try:
            connected = self._connect(wait_s)
            self._latency = LatencyParts(**{part: getattr(connected, part) for part in osc.LATENCY_PARTS})
            self._native = _engine.Bridge(
                sample_rate_hz, block_frames, channels, self._latency.reported, self._latency.fade
            )
            self._native.offline = offline
            self._native.offline_deadline_ms = int(1000 * offline_deadline_s)
            self._attach(connected)
            self._ready()
        except BaseException:
            self._leave()
            raise
        self._thread = threading.Thread(target=self._watch, name="bridge-control", daemon=True)
        self._thread.start()

    # --- audio side -----------------------------------------------------------------------------------------------

    def process(self, block: npt.ArrayLike) -> Frames:
        """Hand in a block, [frames] or [frames, channels] float32; get as many frames, `latency_frames` later.

        Never waits in real time. Offline it waits until the translation is there, and raises UserError if it can't be
        had. ValueError if the block is larger than announced or has other channels.
        """
        try:
            return self._native.process(np.ascontiguousarray(block, dtype=np.float32))
        except RuntimeError as error:
            raise UserError(f"the stream broke off: {error}; start again with a running server") from None

    # --- control side ---------------------------------------------------------------------------------------------

    @property
    def latency_frames(self) -> int:
        """Output frame n + latency_frames answers input frame n. Never changes."""
        return self._latency.reported

    @property
    def latency(self) -> LatencyParts:
        """What the latency is made of."""
        return self._latency

    @property
    def session(self) -> int:
        return self._session

    @property
    def decoders(self) -> list[str]:
        """The instruments of the model; none of a probe."""
        return list(self._decoders)

    @property
    def decoder(self) -> str | None:
        """The instrument that plays."""
        index = int(self._native.get("decoder"))
        return self._decoders[index] if 0 <= index < len(self._decoders) else None

    @property
    def native(self) -> Any:
        """The native bridge, for drivers that call it without the interpreter (`_engine.BlockDriver`)."""
        return self._native

    def set(self, name: str, value: float | int | str) -> None:
        """Set a parameter (`rtserver.osc.PARAMETERS` has names and ranges). ValueError for what isn't one."""
        event = osc.SetParameter(self._session, name, value)
        osc.encode(event)  # checks name and range
        number = self._number(name, value)
        if name != "panic":
            self._parameters[name] = number
        if self._request.transport == "shm" or name in osc.CLIENT_PARAMETERS:
            self._native.set(name, number)
        elif name == "panic":
            self._connection.send(event)
        else:
            self._connection.send(event)
            with self._lock:
                self._unsent[name] = REPEATS - 1

    def get(self, name: str) -> float:
        """The value of a parameter as a number (`decoder` and `fallback` are indices)."""
        return float(self._native.get(name))

    def stats(self) -> dict[str, Any]:
        """Blocks, misses and misses by cause since the bridge was made, over all connections."""
        link = {f"link_{key}": value for key, value in self._link.stats().items()} if self._link else {}
        return {**self._native.stats(), **link, "reconnects": self.reconnects}

    def status(self) -> dict[str, Any]:
        """What the server tells about itself."""
        return server_status(self._port, self._host, self._key)

    def warnings(self) -> list[str]:
        """What the server has refused since the last call."""
        seen, self._warnings = self._warnings, []
        return seen

    def close(self) -> None:
        """End the session. The bridge can't be used any more."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join(timeout=CONNECT_SECONDS + 1)
        self._leave()

    def __enter__(self) -> Bridge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- connecting -----------------------------------------------------------------------------------------------

    def _connect(self, timeout_s: float) -> osc.Connected:
        answer = cast(osc.Connected, self._connection.request(self._request, osc.Connected, timeout_s))
        self._session = answer.session
        models = cast(osc.ModelsReply, self._connection.request(osc.ModelsRequest(), osc.ModelsReply))
        known = json.loads(models.json)
        wanted = self._request.model.removesuffix(".pt") or known["default"]
        self._decoders = next((m.get("decoders", []) for m in known["models"] if m["name"] == wanted), [])
        return answer

    def _attach(self, connected: osc.Connected) -> None:
        """Take the session's memory (or make it, for a remote one) and hand it to the audio side."""
        engine = self._engine
        link = None
        if connected.shm:
            try:
                segment = engine.Segment.open(connected.shm)
            except (OSError, RuntimeError) as error:
                raise UserError(f"the server's memory can't be opened: {error}; connect with transport osc") from None
        else:
            request = self._request
            segment = engine.Segment.create(
                None,
                session=connected.session,
                generation=connected.generation,
                sample_rate_hz=request.rate_hz,
                max_block_frames=request.max_block_frames,
                channels=request.channels,
                latency=self._latency.to_dict(),
                transport="remote",
            )
            link = engine.RemoteLink(
                segment, self._host, connected.audio_port, connected.session, self._key, connected.jitter
            )
        old, self._link, self._segment = self._link, link, segment
        if not connected.shm:
            with self._lock:
                self._unsent = {name: REPEATS for name in self._parameters if name not in osc.CLIENT_PARAMETERS}
        self._native.attach(segment)  # carries the values of the segment before over to this one
        if old is not None:
            old.stop()

    def _ready(self) -> None:
        """Have the stream begun, so that the very first frame is translated."""
        if not self._native.wait_ready(READY_MS):
            raise NoServer("the server's audio worker does not answer; look at `rtserver status`, or start it anew")

    def _leave(self) -> None:
        if hasattr(self, "_native"):
            self._native.detach()
        if self._link is not None:
            self._link.stop()
        if hasattr(self, "_session"):
            self._connection.send(osc.Disconnect(self._session))
        self._connection.close()

    # --- control thread -------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        retry = 0.0
        while not self._closing.wait(LOOK_SECONDS):
            self._native.heartbeat()
            try:
                for event in self._connection.poll():
                    self._take(event)
            except OSError:  # nobody listens: the heartbeat tells
                pass
            self._repeat_parameters()
            if self._offline or not self._lost() or time.monotonic() < retry:
                continue
            try:
                self._come_back()
            except (UserError, RuntimeError, OSError):
                retry = time.monotonic() + RETRY_SECONDS

    def _take(self, event: osc.Event) -> None:
        if isinstance(event, osc.SetParameter) and event.session == self._session:
            number = self._number(event.name, event.value)
            if event.name != "panic":
                self._parameters[event.name] = number
            elif not number:
                return
            self._native.set(event.name, number)
        elif isinstance(event, osc.ErrorReply):
            self._warnings = [*self._warnings[-9:], f"{event.code}: {event.text}"]

    def _repeat_parameters(self) -> None:
        with self._lock:
            due = [name for name, left in self._unsent.items() if left > 0]
            for name in due:
                self._unsent[name] -= 1
        for name in due:
            value = self._parameters[name]
            self._connection.send(osc.SetParameter(self._session, name, value))

    def _lost(self) -> bool:
        silent_ns = self._engine.monotonic_ns() - self._segment.get("server_heartbeat_ns")
        return bool(self._segment.get("closed_by_server")) or silent_ns > 1e9 * STALE_SECONDS

    def _come_back(self) -> None:
        """Connect anew: the same session if the server still knows it, the same latency, the same parameters."""
        decoder = int(self._parameters.get("decoder", -1))
        self._request = replace(
            self._request,
            session=self._session,
            wanted_latency_frames=self._latency.reported,
            seed=int(self._parameters["seed"]) if "seed" in self._parameters else self._request.seed,
            decoder=self._decoders[decoder] if 0 <= decoder < len(self._decoders) else self._request.decoder,
        )
        self._attach(self._connect(1.0))
        self.reconnects += 1

    def _number(self, name: str, value: float | int | str) -> float | int:
        if isinstance(value, str):
            if name == "fallback":
                return FALLBACKS.index(value)
            if value not in self._decoders:
                known = ", ".join(self._decoders) or "none, it is a probe"
                raise ValueError(f"no decoder {value!r} here; the model's decoders: {known}")
            return self._decoders.index(value)
        return value


def server_status(
    port: int = 9000, host: str = "127.0.0.1", key: bytes | None = None, timeout_s: float = 2.0
) -> dict[str, Any]:
    """The status of the server on a port. NoServer if none answers."""
    with ControlConnection(host, port, key) as connection:
        answer = cast(osc.StatusReply, connection.request(osc.StatusRequest(), osc.StatusReply, timeout_s))
    status: dict[str, Any] = json.loads(answer.json)
    return status
