"""The audio process's work: sessions of a server, a sound card's streams, and what keeps the two together.

Nothing here is on the path of audio: the driver calls native code. A lost device is closed, looked for with growing
pauses and opened again; the sessions live on meanwhile.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rtserver.client import Bridge
from rtserver.errors import UserError
from rtserver.latency import AUTO_MARGIN
from rtserver.live import devices, driver
from rtserver.live.between_devices import Room
from rtserver.live.devices import Device
from rtserver.live.takes import Recorder
from rtserver.tuner import pitch_hz

DEFAULT_RATES_HZ = (48000, 44100)
PROBE_SECONDS = 0.6  # how long a driver is watched to learn its habits
PROBE_PATIENCE_SECONDS = 4.0  # for its first calls
SILENT_SECONDS = 1.0  # without a call for so long, a driver has stopped
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 4.0


@dataclass(frozen=True)
class Settings:
    """What is to be played. Devices by number, name or part of it; rate and block 0: what the devices like best."""

    port: int
    model: str | None = None
    decoder: str | None = None
    source: str | None = None
    target: str | None = None
    source_before: str | None = None  # remembered: taken if nothing was named and it is there
    target_before: str | None = None
    rate_hz: int = 0
    block: int = 0
    channels: int = 1
    first_input: int = 0
    latency_ms: float | None = None
    margin: str = AUTO_MARGIN  # or as `rtserver.latency.margin_ms` knows it
    exclusive: bool = False
    guard: bool = True
    patient: bool = False  # wait for the devices if they aren't there
    muted: bool | None = None  # None: if microphone and loudspeakers are the built-in pair
    parameters: dict[str, float] = dataclasses.field(default_factory=dict)


class Player:
    """Made, it plays. Raises UserError when that can't be."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.source, self.target = self._first_pick(devices.listed())
        self.built_in_pair = devices.built_in_pair(self.source, self.target)
        self.muted = self.built_in_pair if settings.muted is None else settings.muted
        self.why_lost: str | None = None
        self.on_lost: Callable[[str], None] = lambda why: None
        self.reopened = 0
        self._bridges: dict[str, Bridge] = {}
        self._model = settings.model or ""
        self._streams: driver.Streams | None = None
        self._path: Any = None
        self._pause, self._next_try = FIRST_PAUSE_SECONDS, 0.0
        self._totals: dict[str, int] = {}
        self._parameters = dict(settings.parameters)
        self.recorder: Recorder | None = None
        self._takes_folder: str | None = None
        self._wish: tuple[str, str | None] | None = None
        self.rate_hz = self._rate()
        self.block = settings.block
        self._room: Room | None = None
        self._seen_frames, self._seen_at = 0, 0.0
        try:
            self._learn_habits()
            self._bridges[self._model] = self._connect(self._model, settings.decoder)
            self._open()
        except BaseException:
            self.close()
            raise

    # --- opening --------------------------------------------------------------------------------------------------

    def _first_pick(self, found: list[Device]) -> tuple[Device, Device]:
        settings, labels = self._settings, {device.label for device in found}
        source = settings.source or (settings.source_before if settings.source_before in labels else None)
        target = settings.target or (settings.target_before if settings.target_before in labels else None)
        return devices.pick(found, "input", source), devices.pick(found, "output", target)

    def _same_again(self, found: list[Device]) -> tuple[Device, Device]:
        """Those that were played until now, and no others: nobody wants to go on through other loudspeakers."""
        return devices.pick(found, "input", self.source.label), devices.pick(found, "output", self.target.label)

    def _rate(self) -> int:
        """The rate asked for, or that of the devices."""
        if self._settings.rate_hz:
            return self._settings.rate_hz
        return self.target.default_rate_hz or DEFAULT_RATES_HZ[0]

    def _wanted(self, block: int) -> driver.Wanted:
        settings = self._settings
        return driver.Wanted(
            self.source,
            self.target,
            self.rate_hz,
            block,
            input_channels=min(self.source.inputs, max(settings.channels, settings.first_input + settings.channels)),
            output_channels=min(2, self.target.outputs),
            latency_s=None if settings.latency_ms is None else settings.latency_ms / 1000.0,
            exclusive=settings.exclusive,
        )

    def _new_path(self, native: Any, wanted: driver.Wanted, block: int) -> Any:
        from rtserver import _engine

        if self._settings.first_input >= wanted.input_channels:
            raise UserError(
                f"{self.source.label} has {self.source.inputs} channels, no channel {self._settings.first_input + 1}"
            )
        return _engine.LivePath(
            native,
            rate_hz=self.rate_hz,
            max_block=block,
            channels=self._settings.channels,
            input_channels=wanted.input_channels,
            first_input=self._settings.first_input,
            output_channels=wanted.output_channels,
            drift_target=0 if wanted.one_clock else max(self._room.frames if self._room else 0, block),
        )

    def _learn_habits(self) -> None:
        """Open the devices once, muted and without a server, and watch in what blocks they call."""
        from rtserver import _engine

        wanted = self._wanted(self._settings.block)
        idle = _engine.Bridge(self.rate_hz, 4096, self._settings.channels, self.rate_hz // 4, 48)
        path = self._new_path(idle, wanted, 4096)
        path.muted = True
        streams = driver.Streams(wanted, path)
        try:
            logs = [path.call_log] if wanted.one_clock else [path.call_log, path.capture_log]
            deadline = time.monotonic() + PROBE_PATIENCE_SECONDS
            while any(len(log()[0]) < 2 for log in logs) and time.monotonic() < deadline:
                time.sleep(0.02)  # the first call may take a second to come
            time.sleep(PROBE_SECONDS)
            seen = path.counted()
        finally:
            streams.close()
        if seen["calls"] < 2:
            raise UserError(
                f"{self.target.label} does not play: its driver called {seen['calls']} times in"
                f" {PROBE_PATIENCE_SECONDS:g} s; choose another device, or end the program that holds it"
            )
        burst = driver.burst_frames(path.call_log(), self.rate_hz)
        self.block = max(burst, self._settings.block, 1)
        if not wanted.one_clock:
            if len(path.capture_log()[0]) < 2:
                raise UserError(f"{self.source.label} records nothing; choose another device, or end what holds it")
            captured = driver.burst_frames(path.capture_log(), self.rate_hz)
            self._room = Room(self.rate_hz, self.block + captured)

    def _connect(self, model: str, decoder: str | None = None) -> Bridge:
        settings = self._settings
        bridge = Bridge(
            settings.port,
            self.rate_hz,
            self.block,
            settings.channels,
            model=model or None,
            decoder=decoder,
            margin=self.margin,
        )
        for name, value in self._parameters.items():
            bridge.set(name, value)
        return bridge

    def _open(self) -> None:
        wanted = self._wanted(self._settings.block)
        self._path = self._new_path(self.bridge.native, wanted, self.block)
        self._path.set_guard(self._settings.guard)
        self._path.muted = self.muted
        self._path.set_recording(self.recorder is not None)
        try:
            self._streams = driver.Streams(wanted, self._path)
        except BaseException:
            self._path = None
            raise
        self._seen_frames, self._seen_at = 0, time.monotonic()
        if self._room is not None:
            self._room.begin()

    def _close_streams(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams.close()
        if self._path is not None:
            self._count()
            if self.recorder is not None:
                self.recorder.drain(self._path)
        self._path = None

    def close(self) -> None:
        """Silence; sessions and files are closed."""
        self._close_streams()
        self.record(None)
        for bridge in self._bridges.values():
            bridge.close()
        self._bridges = {}

    # --- what people do -------------------------------------------------------------------------------------------

    @property
    def bridge(self) -> Bridge:
        """The session that is heard."""
        return self._bridges[self._model]

    @property
    def model(self) -> str:
        return self._model

    @property
    def margin(self) -> str:
        """Of every session: the one asked for, or what suits the drivers."""
        if self._settings.margin != AUTO_MARGIN:
            return self._settings.margin
        return "live" if self._wanted(self._settings.block).even else "balanced"

    def mute(self, on: bool) -> None:
        self.muted, path = on, self._path
        if path is not None:
            path.muted = on

    def panic(self) -> None:
        """Silent within the next block; the network forgets, and all goes on a quarter of a second later."""
        path = self._path  # this may be another thread than the one that closes it
        if path is not None:
            path.panic()

    def set(self, name: str, value: float | str) -> None:
        """Set a session's parameter, here and in every instrument that is played later."""
        if name == "panic":
            self.panic()
            return
        if name != "decoder" and not isinstance(value, str):
            self._parameters[name] = value
            for bridge in self._bridges.values():
                bridge.set(name, value)
        else:
            self.bridge.set(name, value)

    def prepare(self, model: str) -> None:
        """Open a session of a model that may be wanted soon, so that going over to it is a matter of milliseconds."""
        if model not in self._bridges:
            self._bridges[model] = self._connect(model)

    def play(self, model: str, decoder: str | None) -> None:
        """Go over to another instrument, without a gap."""
        self._wish = None
        if model == self._model:
            if decoder:
                self.bridge.set("decoder", decoder)
            return
        self.prepare(model)
        coming = self._bridges[model]
        if decoder:
            coming.set("decoder", decoder)
        if self._path is not None:
            if not self._path.settled:
                self._wish = (model, decoder)  # the change before isn't through yet: the newest wish comes next
                return
            coming.native.reset()  # what it last heard is long gone
            if not coming.native.wait_ready(2000):
                raise UserError(f"the server does not answer for {model}")
            self._path.switch_to(coming.native)
        self._model = model

    def record(self, folder: str | None) -> None:
        """Begin a take in the folder, or end the one that runs."""
        self._takes_folder = folder
        if self._path is not None:
            self._path.set_recording(folder is not None)
        if self.recorder is not None:
            if self._path is not None:
                self.recorder.drain(self._path)
            self.recorder.close()
            self.recorder = None
        if folder is not None:
            self.recorder = Recorder(folder, self.rate_hz, self._settings.channels, self.bridge.latency_frames)

    # --- keeping watch --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """To be called twenty times a second: takes recorded frames, notices what was lost, tries again."""
        if self._path is not None:
            if self.recorder is not None:
                self.recorder.drain(self._path)
            if self._path.settled and self._wish is not None:  # asking also gives the session that was left back
                self.play(*self._wish)
            self._mind_the_gaps()
            why = self._why_stopped()
            if why is None:
                return
            self.why_lost = why
            self.on_lost(why)  # first: closing what has died may hang
            folder = self._takes_folder
            self.record(None)
            self._takes_folder = folder  # the next take begins when the device is back
            self._close_streams()
            self._pause, self._next_try = FIRST_PAUSE_SECONDS, 0.0
        if self._streams is None and time.monotonic() >= self._next_try:
            self._try_again()

    def _mind_the_gaps(self) -> None:
        """Two devices that turn out less even than they looked get more room between them.

        A skip is no reason: it means that the headphones stood still, and more room would only add delay.
        """
        drift = self._path.counted()["drift"]
        if drift is not None and self._room is not None and self._room.grows(drift["starved"], time.monotonic()):
            self._path.set_drift_target(self._room.frames)

    def _why_stopped(self) -> str | None:
        if self._streams is None:
            return None
        frames = self._path.counted()["frames"]
        now = time.monotonic()
        if frames != self._seen_frames:
            self._seen_frames, self._seen_at = frames, now
        if not self._streams.running:
            return f"{self.target.name} was taken away or its server ended"
        patience = SILENT_SECONDS + 4.0 * self.block / self.rate_hz
        if now - self._seen_at > patience:
            return f"{self.target.name} has stopped asking for sound"
        return None

    def _try_again(self) -> None:
        try:
            self.source, self.target = self._same_again(devices.rescan())
            rate = self._rate()
            if rate != self.rate_hz:
                self._change_rate(rate)
            self.bridge.native.reset()
            self._open()
            self.record(self._takes_folder)
        except (UserError, RuntimeError) as error:
            self.why_lost = str(error)
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2.0 * self._pause, LONGEST_PAUSE_SECONDS)
            return
        self.reopened += 1
        self.why_lost = None

    def _change_rate(self, rate_hz: int) -> None:
        """The device came back at another rate: sessions of that rate take over."""
        decoder = self._decoder_name()
        for bridge in self._bridges.values():
            bridge.close()
        self._bridges.clear()
        self.rate_hz = rate_hz
        self._learn_habits()
        self._bridges[self._model] = self._connect(self._model, decoder)

    def _decoder_name(self) -> str | None:
        bridge = self._bridges.get(self._model)
        return bridge.decoder if bridge is not None else None

    # --- what there is to see -------------------------------------------------------------------------------------

    def _count(self) -> dict[str, Any]:
        """The path's figures; what it counted is added to what paths before it did once it is closed."""
        seen: dict[str, Any] = self._path.stats()
        for name in COUNTED:
            if self._streams is None:
                self._totals[name] = self._totals.get(name, 0) + seen[name]
        return seen

    def state(self) -> dict[str, Any]:
        """Everything a screen shows. Levels are since the last call."""
        bridge = self._bridges.get(self._model)
        told: dict[str, Any] = {
            "state": "playing" if self._path is not None else "waiting for the device",
            "why": self.why_lost,
            "muted": self.muted,
            "built_in_pair": self.built_in_pair,
            "input": self.source.label,
            "output": self.target.label,
            "rate_hz": self.rate_hz,
            "block_frames": self.block,
            "margin": self.margin,
            "model": self._model,
            "reopened": self.reopened,
            "recording": None if self.recorder is None else str(self.recorder.folder),
        }
        if bridge is not None:
            told["decoder"] = bridge.decoder
            told["decoders"] = bridge.decoders
            told["server"] = "alive" if bridge.native.server_alive else "away"
            told["session"] = bridge.session
            told["parameters"] = {name: float(bridge.get(name)) for name in SHOWN_PARAMETERS}
            told["latency"] = self._latency(bridge)
            stats = [each.stats() for each in self._bridges.values()]
            told["blocks"] = sum(each["blocks"] for each in stats)
            told["misses"] = sum(each["misses"] for each in stats)
            causes = {
                cause: sum(each["misses_by_cause"][cause] for each in stats) for cause in stats[0]["misses_by_cause"]
            }
            told["misses_by_cause"] = {cause: count for cause, count in causes.items() if count}
            told["reconnects"] = sum(each["reconnects"] for each in stats)
        if self._path is not None:
            seen = self._count()
            told |= {name: seen[name] for name in MOMENTARY}
            told |= {name: self._totals.get(name, 0) + seen[name] for name in COUNTED}
            told["pitch_hz"] = pitch_hz(self._path.last_input(self.rate_hz // 20), self.rate_hz)
        else:
            told |= dict.fromkeys(MOMENTARY) | {name: self._totals.get(name, 0) for name in COUNTED}
            told["pitch_hz"] = None
        return told

    def _latency(self, bridge: Bridge) -> dict[str, Any]:
        """In ms: what is declared, in parts, and what the driver measured for its own share."""

        def ms(frames: float) -> float:
            return round(1000.0 * frames / self.rate_hz, 3)

        session = {part: ms(frames) for part, frames in bridge.latency.to_dict().items()}
        told: dict[str, Any] = {"session": session, "input": None, "output": None, "between_devices": 0.0}
        measured = None
        if self._streams is not None:
            granted = self._streams.granted
            told["input"] = round(1000.0 * granted.input_latency_s, 3)
            told["output"] = round(1000.0 * granted.output_latency_s, 3)
            seen = self._path.counted()
            if seen["drift"] is not None:
                told["between_devices"] = ms(seen["drift"]["target"])
            elif seen["device_latency_s"] > 0:
                measured = round(1000.0 * seen["device_latency_s"] + session["reported"], 3)
        device = [told[name] for name in ("input", "output", "between_devices")]
        told["declared"] = None if None in device else round(sum(device) + session["reported"], 3)
        told["measured"] = measured
        return told


MOMENTARY = (
    "input_peak", "input_rms", "output_peak", "output_rms", "limiter_gain", "guard_gain_db", "longest_us",
    "largest_block", "drift",
)  # fmt: skip
COUNTED = (
    "calls", "input_overflows", "input_underflows", "output_underflows", "output_overflows", "overruns", "howls",
    "probes", "take_dropped",
)  # fmt: skip
SHOWN_PARAMETERS = ("mix", "output_gain_db", "input_gain_db", "gate_db", "temperature", "bypass")
