"""Bytes to events and back, without sockets: the control protocol's only reader and writer of OSC.

Whatever arrives, `decode` answers with events and refusals and never raises. python-osc reads the arguments; what it
would trust (sizes that run backwards, bundles in bundles without end, tags it does not know) is checked before.
"""

from __future__ import annotations

import math
import re
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, Literal

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from rtserver.osc import addresses
from rtserver.osc.addresses import BY_ADDRESS, Argument, Message
from rtserver.osc.events import (
    Blend,
    Connect,
    Connected,
    Disconnect,
    ErrorReply,
    Event,
    ModelsReply,
    ModelsRequest,
    PresetDelete,
    PresetRecall,
    PresetSave,
    PresetsReply,
    PresetsRequest,
    Refusal,
    RefusalCode,
    SetParameter,
    StatusReply,
    StatusRequest,
)
from rtserver.osc.seal import MAC_BYTES, SealChecker, Sealer, SealFault

Role = Literal["server", "client"]
Value = float | int | str

REQUEST_BYTES_MAX = 4096
REPLY_BYTES_MAX = 65507  # the largest UDP datagram: /rt/status.reply may need it
BUNDLE_DEPTH_MAX = 4
BUNDLE_MESSAGES_MAX = 128
TEXT_BYTES_MAX = 1024  # any string of a request
TIME_TAG_AHEAD_S = 0.05  # "now", as far as clocks agree

_BUNDLE = b"#bundle\0"
_NTP_TO_UNIX_S = 2_208_988_800
_SESSION_ADDRESS = re.compile(r"/rt/([1-9][0-9]{0,9})/([a-z_.]{1,32})\Z")
_FIXED_BYTES = {"i": 4, "f": 4, "h": 8, "d": 8, "t": 8, "r": 4, "m": 4, "T": 0, "F": 0, "N": 0}
_SEAL_TEXT: dict[SealFault, str] = {
    "unsealed": "this server has a key and the message carries no seal: give the client the same --key",
    "forged": "the seal does not fit: give client and server the same --key",
    "stale": "sealed more than 60 s from now: set the clocks of both machines",
    "replayed": "this message has already been received",
}


class _Refused(Exception):
    """Carries a refusal out of the parser; never leaves this module."""

    def __init__(self, code: RefusalCode, text: str) -> None:
        super().__init__(text)
        self.code: RefusalCode = code
        self.text = text


# --- writing ---


def encode(event: Event, sealer: Sealer | None = None, nonce: int | None = None) -> bytes:
    """The datagram of an event, sealed if a sealer is given.

    Raises ValueError naming the argument that the receiver would refuse.
    """
    address, message, values = _arguments_of(event)
    builder = OscMessageBuilder(address)
    try:
        for argument, value in values:
            tag, number = _outgoing(argument, value)
            builder.add_arg(number, tag)
    except _Refused as refused:
        raise ValueError(f"{address}: {refused.text}") from None
    if sealer is None:
        datagram = builder.build().dgram
    else:
        builder.add_arg(sealer.next_nonce() if nonce is None else nonce, "h")
        builder.add_arg(bytes(MAC_BYTES), "b")
        datagram = sealer.close(builder.build().dgram[:-MAC_BYTES])
    limit = REQUEST_BYTES_MAX if message.receiver == "server" else REPLY_BYTES_MAX
    if len(datagram) > limit:
        raise ValueError(f"{address}: {len(datagram)} bytes, at most {limit} fit")
    return datagram


def _arguments_of(event: Event) -> tuple[str, Message, list[tuple[Argument, Any]]]:
    if isinstance(event, SetParameter):
        message = BY_ADDRESS.get(f"/rt/<session>/{event.name}")
        if message is None or event.name not in addresses.PARAMETERS:
            raise ValueError(f"there is no parameter '{event.name}': one of {', '.join(addresses.PARAMETERS)}")
        if not 1 <= event.session <= addresses.MAX_SESSION:
            raise ValueError(f"session {event.session}: must be 1 to 2^31 - 1")
        return f"/rt/{event.session}/{event.name}", message, [(message.arguments[0], event.value)]
    if isinstance(event, Blend):
        message = addresses.BLEND
        address = message.address.replace("<session>", str(event.session))
        return address, message, list(zip(message.arguments, (event.amount, event.source), strict=True))
    message = _MESSAGE_OF[type(event)]
    values = [
        (argument, getattr(event, field.name))
        for argument, field in zip(message.arguments, fields(event), strict=False)
    ]
    for option in message.options:
        value = getattr(event, option.name)
        if value is not None:
            text = Argument(option.name, "s", option.doc)
            _checked(option, value)
            values += [(text, option.name), (text, value if isinstance(value, str) else f"{value!r}")]
    return message.address, message, values


def _outgoing(argument: Argument, value: Any) -> tuple[str, Any]:
    value = _checked(argument, value)
    if isinstance(value, str):
        return "s", value
    if "s" in argument.tag + argument.also and argument.tag == "s":
        return "i", value
    return argument.tag, value


_MESSAGE_OF: dict[type, Message] = {
    Connect: addresses.CONNECT,
    Connected: addresses.CONNECTED,
    Disconnect: addresses.DISCONNECT,
    StatusRequest: addresses.STATUS,
    StatusReply: addresses.STATUS_REPLY,
    ModelsRequest: addresses.MODELS,
    ModelsReply: addresses.MODELS_REPLY,
    PresetSave: addresses.PRESET_SAVE,
    PresetRecall: addresses.PRESET_RECALL,
    PresetDelete: addresses.PRESET_DELETE,
    PresetsRequest: addresses.PRESETS,
    PresetsReply: addresses.PRESETS_REPLY,
    ErrorReply: addresses.ERROR,
}
_EVENT_OF: dict[str, Callable[..., Event]] = {message.address: event for event, message in _MESSAGE_OF.items()}


# --- reading ---


def decode(
    datagram: bytes, role: Role = "server", checker: SealChecker | None = None, time_us: int | None = None
) -> list[Event | Refusal]:
    """Everything that one datagram says to us in `role`, in order; bundles are opened. Never raises.

    checker: the seals of a session with a key. time_us: Unix time, for tests.
    """
    limit = REQUEST_BYTES_MAX if role == "server" else REPLY_BYTES_MAX
    if len(datagram) > limit:
        return [Refusal("oversized", f"{len(datagram)} bytes, at most {limit} are read")]
    try:
        messages = list(_opened(bytes(datagram), _now_s(time_us), 0))
    except _Refused as refused:
        return [Refusal(refused.code, refused.text)]
    if len(messages) > BUNDLE_MESSAGES_MAX:
        return [Refusal("oversized", f"{len(messages)} messages in a bundle, at most {BUNDLE_MESSAGES_MAX} are read")]
    return [_decode_message(message, role, checker, time_us) for message in messages]


def _now_s(time_us: int | None) -> float:
    return time.time() if time_us is None else time_us / 1e6


def _opened(packet: bytes, now_s: float, depth: int) -> Iterator[bytes]:
    """The messages of a packet; each is an aligned, non-empty run of bytes that starts with '/'."""
    if len(packet) < 4 or len(packet) % 4:
        raise _Refused("malformed", f"{len(packet)} bytes: OSC comes in fours")
    if not packet.startswith(_BUNDLE):
        if packet[0] != ord("/"):
            raise _Refused("malformed", "neither an OSC message nor a bundle")
        yield packet
        return
    if len(packet) < 16:
        raise _Refused("malformed", "a bundle without its time tag")
    if depth == BUNDLE_DEPTH_MAX:
        raise _Refused("malformed", f"bundles nested deeper than {BUNDLE_DEPTH_MAX}")
    time_tag = struct.unpack_from(">Q", packet, 8)[0]  # 1 means "immediately"
    if time_tag / 2**32 - _NTP_TO_UNIX_S > now_s + TIME_TAG_AHEAD_S:
        raise _Refused("future_time_tag", "a bundle for later: send it when it is due")
    at = 16
    while at < len(packet):
        size = struct.unpack_from(">i", packet, at)[0]
        at += 4
        if size <= 0 or size > len(packet) - at:
            raise _Refused("malformed", "a bundle element reaches beyond the packet")
        yield from _opened(packet[at : at + size], now_s, depth + 1)
        at += size


def _decode_message(message: bytes, role: Role, checker: SealChecker | None, time_us: int | None) -> Event | Refusal:
    address = ""
    try:
        address, tags = _measured(message)
        if checker is not None:
            fault = checker.check(message, tags, time_us)
            if fault is not None:
                raise _Refused(fault, _SEAL_TEXT[fault])
        entry, session, name = _looked_up(address, role)
        values: list[Any] = OscMessage(message).params
        if checker is not None or _looks_sealed(tags, entry, values):
            values, tags = values[:-2], tags[:-2]
        return _event(entry, session, name, values, tags)
    except _Refused as refused:
        return Refusal(refused.code, refused.text, address)
    except Exception as error:  # python-osc's own complaints, of several classes
        return Refusal("malformed", f"{type(error).__name__}: {error}"[:200], address)


def _looks_sealed(tags: str, entry: Message, values: list[Any]) -> bool:
    """A seal that nobody here can check (no key on this side) is ignored."""
    return tags.endswith(addresses.SEAL_TAGS) and len(tags) >= len(entry.arguments) + 2 and len(values[-1]) == MAC_BYTES


def _measured(message: bytes) -> tuple[str, str]:
    """Address and type tags (without the comma) of a message whose every argument lies within it, none left over."""
    address, at = _string(message, 0)
    if at == len(message):
        return address, ""  # old senders leave the comma out
    tags, at = _string(message, at)
    if not tags.startswith(","):
        raise _Refused("malformed", "the type tags don't start with a comma")
    for tag in tags[1:]:
        if tag in _FIXED_BYTES:
            at += _FIXED_BYTES[tag]
        elif tag == "s":
            at = _string(message, at)[1]
        elif tag == "b":
            if at + 4 > len(message):
                raise _Refused("malformed", "an argument reaches beyond the message")
            size = struct.unpack_from(">i", message, at)[0]
            if size < 0 or size > len(message):
                raise _Refused("malformed", "a blob reaches beyond the message")
            at += 4 + size + -size % 4
        else:
            raise _Refused("malformed", f"type tag {tag!r} is not one of ifsbhdtrmTFN")
        if at > len(message):
            raise _Refused("malformed", "an argument reaches beyond the message")
    if at != len(message):
        raise _Refused("malformed", f"{len(message) - at} bytes after the last argument")
    return address, tags[1:]


def _string(message: bytes, at: int) -> tuple[str, int]:
    end = message.find(0, at)
    if end < 0:
        raise _Refused("malformed", "a string without its end")
    try:
        text = message[at:end].decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused("malformed", "a string that is not UTF-8") from None
    return text, end + 4 - end % 4


def _looked_up(address: str, role: Role) -> tuple[Message, int, str]:
    """The table's entry, and session and name where the address holds them."""
    session, name = 0, ""
    entry = BY_ADDRESS.get(address) if "<" not in address else None
    if entry is None:
        match = _SESSION_ADDRESS.match(address)
        if match:
            session, name = int(match[1]), match[2]
            entry = BY_ADDRESS.get(f"/rt/<session>/{name}")
    if entry is None or session > addresses.MAX_SESSION:
        raise _Refused("unknown_address", "no such address; docs/osc.md lists them")
    if entry.socket == "audio":
        raise _Refused("misplaced", "belongs on the audio port that /rt/connected named")
    if entry.receiver not in (role, "both"):
        raise _Refused("misplaced", f"is for the {entry.receiver}")
    return entry, session, name


def _event(entry: Message, session: int, name: str, values: list[Any], tags: str) -> Event:
    if name == "panic" and not values:
        values, tags = [1], "i"  # a bare trigger
    count = len(entry.arguments)
    extra = len(values) - count
    if extra < 0 or (extra and not entry.options) or extra % 2:
        raise _Refused("wrong_type", f"has ,{tags}, expected {entry.tags}" + (" and pairs ss" if entry.options else ""))
    checked = [
        _checked(argument, _incoming(argument, value, tag, entry))
        for argument, value, tag in zip(entry.arguments, values, tags, strict=False)
    ]
    if entry is addresses.BLEND:
        return Blend(session, *checked)
    if name:
        return SetParameter(session, name, checked[0])
    return _EVENT_OF[entry.address](*checked, **_options(entry, values[count:], tags[count:]))


def _options(entry: Message, values: list[Any], tags: str) -> dict[str, Value]:
    known = {option.name: option for option in entry.options}
    given: dict[str, Value] = {}
    for at in range(0, len(values), 2):
        if tags[at : at + 2] != "ss":
            raise _Refused("wrong_type", f"options are pairs of strings, found ,{tags[at : at + 2]}")
        name, text = values[at], values[at + 1]
        option = known.get(name)
        if option is None:
            raise _Refused("out_of_range", f"no option '{name[:40]}': one of {', '.join(known)}")
        if name in given:
            raise _Refused("out_of_range", f"option '{name}' is given twice")
        value: Value = text
        if option.tag != "s":
            try:
                value = int(text[:40]) if option.tag in "ih" else float(text[:40])
            except ValueError:
                raise _Refused("wrong_type", f"{name} is '{text[:40]}', expected a number") from None
        given[name] = _checked(option, value)
    return given


def _incoming(argument: Argument, value: Any, tag: str, entry: Message) -> Any:
    """The value in the type that the argument wants, or a refusal."""
    wanted = argument.tag + argument.also
    if tag == "s" and "s" in wanted:
        if entry.receiver != "client" and len(value.encode()) > TEXT_BYTES_MAX:
            raise _Refused("out_of_range", f"{argument.name} is longer than {TEXT_BYTES_MAX} bytes")
        return value
    if tag in "TF" and tag in wanted:
        return int(value)
    if tag in "ihfd" and any(numeric in wanted for numeric in "ihf"):
        if "f" in wanted:
            return float(value)
        if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
            return int(value)
        raise _Refused("wrong_type", f"{argument.name} is {value:g}, expected a whole number")
    raise _Refused("wrong_type", f"{argument.name} has type '{tag}', expected one of '{wanted}'")


def checked(argument: Argument, value: Any) -> Any:
    """A value from elsewhere (JSON, a file) as the table allows it. ValueError says what is wrong with it."""
    try:
        return _checked(argument, value)
    except _Refused as refused:
        raise ValueError(refused.text) from None
    except OverflowError:  # JSON's whole numbers have no end
        raise ValueError(f"{argument.name} is too large") from None


def _checked(argument: Argument, value: Any) -> Any:
    """The value if the table allows it. Indices of `choices` become their names."""
    name = argument.name
    if isinstance(value, bool):
        value = int(value)
    if argument.choices:
        if isinstance(value, (int, float)) and "i" in argument.also and 0 <= value < len(argument.choices):
            return argument.choices[int(value)]
        if value not in argument.choices:
            raise _Refused("out_of_range", f"{name} is {str(value)[:40]!r}, must be {argument.range_text}")
        return value
    if isinstance(value, str):
        if "s" not in argument.tag + argument.also:
            raise _Refused("wrong_type", f"{name} is {value[:40]!r}, expected a number")
        if "\0" in value:
            raise _Refused("out_of_range", f"{name} holds a zero byte")
        return value
    if not isinstance(value, (int, float)) or (argument.tag == "s" and not argument.also):
        raise _Refused("wrong_type", f"{name} has type {type(value).__name__}, expected ',{argument.tag}'")
    if not math.isfinite(value):
        raise _Refused("out_of_range", f"{name} is {value}")
    if argument.tag != "f" and value != int(value):
        raise _Refused("wrong_type", f"{name} is {value:g}, expected a whole number")
    low, high = argument.low, argument.high
    if argument.tag == "s":
        low, high = 0, 255  # an index in place of a name
    if (low is not None and value < low) or (high is not None and value > high):
        raise _Refused("out_of_range", f"{name} is {value:g}, must be {argument.range_text or '0 to 255'}")
    return float(value) if argument.tag == "f" else int(value)
