"""Sound devices as PortAudio knows them: listed, and picked by number or by a part of the name."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rtserver.errors import UserError

Direction = Literal["input", "output"]

# Names that systems give to what is built into the machine: there the loudspeakers are a hand's breadth from the
# microphone, and the first sound would howl.
_BUILT_IN_INPUT = re.compile(r"built-?in|macbook|imac|microphone array|internal mic|HDA Intel|ALC\d", re.IGNORECASE)
_BUILT_IN_OUTPUT = re.compile(
    r"built-?in|macbook|imac|speakers? \(realtek|internal speak|HDA Intel|ALC\d", re.IGNORECASE
)
_HEADPHONES = re.compile(r"head(phone|set)|earphone|airpods", re.IGNORECASE)


@dataclass(frozen=True)
class Device:
    """One device of one host API. number: PortAudio's, valid until devices come or go. Latencies in seconds."""

    number: int
    name: str
    host_api: str
    inputs: int
    outputs: int
    default_rate_hz: int
    low_input_latency_s: float
    low_output_latency_s: float
    default_input: bool
    default_output: bool

    def channels(self, direction: Direction) -> int:
        return self.inputs if direction == "input" else self.outputs

    def low_latency_s(self, direction: Direction) -> float:
        return self.low_input_latency_s if direction == "input" else self.low_output_latency_s

    @property
    def label(self) -> str:
        """Tells it from every other device, now and next time: what is remembered."""
        return f"{self.name} ({self.host_api})"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def portaudio() -> Any:
    """The module sounddevice, with PortAudio loaded. UserError if either is missing."""
    try:
        import sounddevice
    except ImportError:
        raise UserError("live sound needs sounddevice: `pip install 'rtserver[live]'`") from None
    except OSError:
        raise UserError(
            "live sound needs the PortAudio library: `sudo apt-get install libportaudio2`, or your system's package of"
            " that name"
        ) from None
    return sounddevice


def listed() -> list[Device]:
    """All devices, in PortAudio's order. Empty where there are none."""
    sd = portaudio()
    apis = sd.query_hostapis()
    default_in = _default(sd, apis, "default_input_device")
    default_out = _default(sd, apis, "default_output_device")
    return [
        Device(
            number=number,
            name=" ".join(str(info["name"]).split()),
            host_api=apis[info["hostapi"]]["name"],
            inputs=info["max_input_channels"],
            outputs=info["max_output_channels"],
            default_rate_hz=round(info["default_samplerate"]),
            low_input_latency_s=info["default_low_input_latency"],
            low_output_latency_s=info["default_low_output_latency"],
            default_input=number == default_in,
            default_output=number == default_out,
        )
        for number, info in enumerate(sd.query_devices())
    ]


def _default(sd: Any, apis: Sequence[Any], which: str) -> int:
    """The system's default device; if its first host API has none, that of the next which has."""
    chosen = sd._lib.Pa_GetDefaultHostApi()
    order = [chosen, *range(len(apis))] if 0 <= chosen < len(apis) else range(len(apis))
    return next((apis[i][which] for i in order if apis[i][which] >= 0), -1)


def rescan() -> list[Device]:
    """Look again: PortAudio makes its list once, when it starts. No stream may be open."""
    sd = portaudio()
    sd._terminate()
    sd._initialize()
    return listed()


def pick(devices: Sequence[Device], direction: Direction, wanted: str | None) -> Device:
    """The device of that number, name, or part of a name; None is the system's default.

    A whole name wins over a part. UserError, with the nearest names, if there is none or several could be meant.
    """
    able = [device for device in devices if device.channels(direction) > 0]
    if not able:
        raise UserError(none_found(direction))
    if wanted is None:
        default = [d for d in able if (d.default_input if direction == "input" else d.default_output)]
        return (default or able)[0]
    text = wanted.strip()
    if text.isdecimal():
        for device in able:
            if device.number == int(text):
                return device
        raise UserError(f"no {direction} device has the number {text}; `rtserver devices` lists them")
    lowered = text.lower()
    for same in (
        [d for d in able if lowered in (d.label.lower(), d.name.lower())],
        [d for d in able if lowered in d.label.lower()],
    ):
        if len(same) == 1 or (same and len({d.name for d in same}) == 1):
            return same[0]  # the same device under several host APIs: the first is the system's own order
        if same:
            names = ", ".join(f"{d.number} {d.label}" for d in same)
            raise UserError(f"--{direction} {text!r} could be {names}; give more of the name, or the number")
    near = difflib.get_close_matches(lowered, [d.name.lower() for d in able], n=3, cutoff=0.3)
    known = [d.name for d in able if d.name.lower() in near] or [d.name for d in able[:5]]
    raise UserError(f"no {direction} device is called {text!r}; there is {', '.join(dict.fromkeys(known))}")


def none_found(direction: Direction) -> str:
    what = "microphone or other input" if direction == "input" else "headphones or other output"
    if sys.platform.startswith("linux"):
        advice = (
            "plug one in; with PipeWire or PulseAudio install the ALSA plugin (`sudo apt-get install"
            " libasound2-plugins` or pipewire-alsa), with JACK start its server first, and look at `rtserver devices`"
        )
    elif sys.platform == "darwin":
        advice = "plug one in, and allow the terminal to use the microphone in System Settings, Privacy"
    else:
        advice = "plug one in, and allow desktop apps to use the microphone in Settings, Privacy"
    return f"no {what} was found: {advice}"


def built_in_pair(source: Device, target: Device) -> bool:
    """Whether microphone and loudspeakers are both the machine's own, so that one will hear the other."""
    return bool(
        _BUILT_IN_INPUT.search(source.name)
        and _BUILT_IN_OUTPUT.search(target.name)
        and not _HEADPHONES.search(target.name)
    )
