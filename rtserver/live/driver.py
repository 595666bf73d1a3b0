"""PortAudio streams whose callback is native: the driver's thread never meets the interpreter.

sounddevice brings the library and its declarations; a stream is opened here with the address of a function of
`rtserver._engine` and a `LivePath` as its user data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rtserver.errors import UserError
from rtserver.live.devices import Device, portaudio

CLIP_AND_DITHER_OFF = 3  # paClipOff | paDitherOff: the limiter has been there
ONE_CLOCK_APIS = ("JACK Audio Connection Kit", "ASIO")
EVEN_APIS = (*ONE_CLOCK_APIS, "Core Audio", "Windows WDM-KS")


class DriverError(UserError):
    """PortAudio refused, with its words. `code` is its PaError."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Wanted:
    """What is asked of the driver. latency_s None: the lowest it calls stable. block 0: as it likes best."""

    source: Device
    target: Device
    rate_hz: int
    block: int
    input_channels: int
    output_channels: int
    latency_s: float | None = None
    exclusive: bool = False

    @property
    def one_clock(self) -> bool:
        """Whether one stream serves both ends, so that their clocks are the same."""
        if self.source.host_api != self.target.host_api:
            return False
        return self.source.number == self.target.number or self.source.host_api in ONE_CLOCK_APIS

    @property
    def even(self) -> bool:
        """Whether both ends can be expected to call when their sound card has moved a block.

        Where a sound server mixes in between (PulseAudio's ALSA plugin, WASAPI shared, MME, DirectSound), calls come
        late now and then, and then in a heap.
        """
        return all(
            device.host_api in EVEN_APIS or "(hw:" in device.name or (self.exclusive and "WASAPI" in device.host_api)
            for device in (self.source, self.target)
        )


@dataclass(frozen=True)
class Granted:
    """What the driver gave. Latencies in seconds, as it states them."""

    rate_hz: float
    input_latency_s: float
    output_latency_s: float


class Streams:
    """One running stream, or two. Made, they call `path` (an `_engine.LivePath`, kept alive) until `close`."""

    def __init__(self, wanted: Wanted, path: Any) -> None:
        self._sd = portaudio()
        self._path = path
        self._open: list[Any] = []
        source = self._parameters(wanted, "input")
        target = self._parameters(wanted, "output")
        try:
            if wanted.one_clock:
                self._start(wanted, source, target, path.duplex_address)
            else:
                self._start(wanted, source, None, path.capture_address)
                self._start(wanted, None, target, path.playback_address)
        except BaseException:
            self.close()
            raise
        infos = [self._sd._lib.Pa_GetStreamInfo(stream) for stream in self._open]
        self.granted = Granted(infos[0].sampleRate, infos[0].inputLatency, infos[-1].outputLatency)

    @property
    def running(self) -> bool:
        """Whether the driver still means to call."""
        return all(self._sd._lib.Pa_IsStreamActive(stream) == 1 for stream in self._open)

    def close(self) -> None:
        """No call is under way afterwards, and none will come."""
        for stream in self._open:
            self._sd._lib.Pa_AbortStream(stream)
            self._sd._lib.Pa_CloseStream(stream)
        self._open = []

    def _parameters(self, wanted: Wanted, direction: Any) -> Any:
        device = wanted.source if direction == "input" else wanted.target
        channels = wanted.input_channels if direction == "input" else wanted.output_channels
        latency = device.low_latency_s(direction) if wanted.latency_s is None else wanted.latency_s
        special = self._sd._ffi.NULL
        if wanted.exclusive:
            if "WASAPI" not in device.host_api:
                raise UserError(f"--exclusive is for WASAPI devices, {device.label} is none; leave it out")
            self._exclusive = self._sd.WasapiSettings(exclusive=True)
            special = self._exclusive._streaminfo
        return self._sd._ffi.new(
            "PaStreamParameters*", (device.number, channels, self._sd._lib.paFloat32, latency, special)
        )

    def _start(self, wanted: Wanted, source: Any, target: Any, callback: int) -> None:
        ffi, lib = self._sd._ffi, self._sd._lib
        place = ffi.new("PaStream**")
        self._check(
            lib.Pa_OpenStream(
                place,
                source or ffi.NULL,
                target or ffi.NULL,
                float(wanted.rate_hz),
                wanted.block,
                CLIP_AND_DITHER_OFF,
                ffi.cast("PaStreamCallback*", callback),
                ffi.cast("void*", self._path.user_data),
            ),
            wanted,
        )
        self._open.append(place[0])
        self._check(lib.Pa_StartStream(place[0]), wanted)

    def _check(self, code: int, wanted: Wanted) -> None:
        if code == 0:
            return
        lib, ffi = self._sd._lib, self._sd._ffi
        words = ffi.string(lib.Pa_GetErrorText(code)).decode(errors="replace")
        if code == lib.paUnanticipatedHostError:
            info = lib.Pa_GetLastHostErrorInfo()
            words = ffi.string(info.errorText).decode(errors="replace") or words
        what = f"{wanted.source.label} to {wanted.target.label} at {wanted.rate_hz} Hz"
        advice = "try another --rate" if code == lib.paInvalidSampleRate else "try other devices or a larger --latency"
        raise DriverError(f"can't open {what}: {words}; {advice}", code)


def burst_frames(log: tuple[np.ndarray, np.ndarray], rate_hz: float) -> int:
    """How many frames a driver moves at once, from when it called and up to which frame.

    A driver may call several times in a row and then pause; to the session that is one large block. Calls that follow
    each other within a third of the time that they play belong together, and the burst is what three quarters of all
    calls are part of: a driver's habit, not what the machine did to a call now and then.
    """
    times_ns, ends = (np.asarray(column, np.float64) for column in log)
    if not len(times_ns):
        return 0
    frames = np.diff(ends, prepend=0.0)
    skip = len(times_ns) // 5  # the start is uneven everywhere
    times_ns, frames = times_ns[skip:], frames[skip:]
    pauses = np.diff(times_ns, prepend=-np.inf) > frames * 1e9 / rate_hz / 3.0
    bursts = np.add.reduceat(frames, np.flatnonzero(pauses))
    sizes = np.sort(np.repeat(bursts, np.diff(np.append(np.flatnonzero(pauses), len(frames)))))
    return int(max(sizes[int(0.75 * (len(sizes) - 1))], frames.max()))
