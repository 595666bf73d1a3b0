"""Files for other people's surfaces, made from the table of messages so that they can't drift from it.

- `touchosc`: a layout for TouchOSC, one session's controls on a screen. The format is zlib-compressed XML: a tree of
  nodes with properties, values and OSC messages.
- `reaper`: a pattern file by which REAPER's tracks steer sessions: fader, pan and mute of track n go to session n.

`python -m rtserver.osc docs/layouts/rtserver.tosc docs/layouts/rtserver.ReaperOSC` writes them; a test compares.
"""

from __future__ import annotations

import zlib
from xml.sax.saxutils import escape

from rtserver.osc import addresses
from rtserver.osc.addresses import Argument

WIDTH, HEIGHT = 1024, 768
GAP = 12
LABEL_HEIGHT = 36
INSTRUMENTS = 4  # buttons for the first decoders, by index

# What REAPER sends of a track, in the type that fits: n from 0 to 1, f as it is (dB), b 0 or 1.
_REAPER = (("TRACK_VOLUME", "f", "output_gain_db"), ("TRACK_PAN", "n", "mix"), ("TRACK_MUTE", "b", "bypass"))


def reaper() -> str:
    """A .ReaperOSC file."""
    lines = [
        "# rtserver: REAPER's track n steers session n. Put this file into the folder that REAPER's OSC settings open,",
        "# and choose it as the pattern of a device with the address and the port of rtserver (9000).",
        "# The fader's dB are the output gain, the pan knob is the mix (right: the translation), mute is bypass.",
        "",
        "DEVICE_TRACK_COUNT 8",
        "DEVICE_SEND_COUNT 0",
        "DEVICE_RECEIVE_COUNT 0",
        "DEVICE_FX_COUNT 0",
        "DEVICE_FX_PARAM_COUNT 0",
        "DEVICE_FX_INST_PARAM_COUNT 0",
        "DEVICE_MARKER_COUNT 0",
        "DEVICE_REGION_COUNT 0",
        "REAPER_TRACK_FOLLOWS REAPER",
        "DEVICE_TRACK_FOLLOWS DEVICE",
        "DEVICE_TRACK_BANK_FOLLOWS DEVICE",
        "DEVICE_FX_FOLLOWS DEVICE",
        "",
    ]
    for action, kind, name in _REAPER:
        lines.append(f"{action} {kind}{_address(name, '@')}")
    return "\n".join(lines) + "\n"


def touchosc(session: int = 1) -> bytes:
    """A .tosc file for one session: a fader for every number, bypass, panic, and buttons for the instruments."""
    faders = [argument for argument in addresses.PARAMETERS.values() if argument.tag == "f"]
    width = (WIDTH - GAP) // len(faders) - GAP
    nodes: list[str] = []
    fader_height = HEIGHT * 3 // 5
    for at, argument in enumerate(faders):
        left = GAP + at * (width + GAP)
        nodes.append(_label(argument.name, left, GAP, width))
        frame = (left, GAP + LABEL_HEIGHT, width, fader_height)
        nodes.append(_control("FADER", argument, _address(argument.name, session), frame, _scaled(argument)))
    top = GAP * 2 + LABEL_HEIGHT + fader_height
    for at in range(INSTRUMENTS):
        frame = (GAP + at * (width + GAP), top + LABEL_HEIGHT, width, 90)
        nodes.append(_label(f"instrument {at + 1}", frame[0], top, width))
        nodes.append(
            _control("BUTTON", addresses.DECODER, _address("decoder", session), frame, _constant(at), press_only=True)
        )
    row = top + LABEL_HEIGHT + 90 + GAP
    half = (WIDTH - 3 * GAP) // 2
    nodes.append(_label("bypass", GAP, row, half))
    frame = (GAP, row + LABEL_HEIGHT, half, HEIGHT - row - LABEL_HEIGHT - GAP)
    nodes.append(
        _control("BUTTON", addresses.BYPASS, _address("bypass", session), frame, _scaled(addresses.BYPASS), True)
    )
    nodes.append(_label("panic", 2 * GAP + half, row, half))
    frame = (2 * GAP + half, *frame[1:])
    nodes.append(_control("BUTTON", addresses.PANIC, _address("panic", session), frame, _constant(1), press_only=True))
    root = _node("GROUP", "rtserver", (0, 0, WIDTH, HEIGHT), f"<children>{''.join(nodes)}</children>")
    text = f"<?xml version='1.0' encoding='UTF-8'?><lexml version='3'>{root}</lexml>"
    return zlib.compress(text.encode(), 9)


def _address(name: str, session: int | str) -> str:
    """The address that sets a parameter. KeyError if the table has none."""
    return addresses.BY_ADDRESS[f"/rt/<session>/{name}"].address.replace("<session>", str(session))


def _node(kind: str, name: str, frame: tuple[int, int, int, int], content: str, properties: str = "") -> str:
    x, y, w, h = frame
    key = f"{kind}-{name}-{x}-{y}"
    return (
        f"<node ID='{key}' type='{kind}'><properties>"
        f"<property type='s'><key>name</key><value>{escape(name)}</value></property>"
        f"<property type='r'><key>frame</key><value><x>{x}</x><y>{y}</y><w>{w}</w><h>{h}</h></value></property>"
        f"{properties}</properties>{content}</node>"
    )


def _label(text: str, x: int, y: int, width: int) -> str:
    shown = f"<values><value><key>text</key><default>{escape(text)}</default></value></values>"
    return _node("LABEL", f"label {text}", (x, y, width, LABEL_HEIGHT), shown)


def _control(
    kind: str,
    argument: Argument,
    address: str,
    frame: tuple[int, int, int, int],
    value: str,
    toggle: bool = False,
    press_only: bool = False,
) -> str:
    button = f"<property type='i'><key>buttonType</key><value>{int(toggle)}</value></property>"
    condition = "RISE" if press_only else "ANY"
    message = (
        "<messages><osc><enabled>1</enabled><send>1</send><receive>1</receive><feedback>0</feedback>"
        "<connections>00001</connections>"
        f"<triggers><trigger><var>x</var><condition>{condition}</condition></trigger></triggers>"
        "<path><partial><type>CONSTANT</type><conversion>STRING</conversion>"
        f"<value>{escape(address)}</value><scaleMin>0</scaleMin><scaleMax>1</scaleMax></partial></path>"
        f"<arguments>{value}</arguments></osc></messages>"
    )
    return _node(kind, argument.name, frame, message, button if kind == "BUTTON" else "")


def _scaled(argument: Argument) -> str:
    """The control's position, 0 to 1, as a value of the argument's range."""
    return (
        "<partial><type>VALUE</type><conversion>FLOAT</conversion><value>x</value>"
        f"<scaleMin>{argument.low:g}</scaleMin><scaleMax>{argument.high:g}</scaleMax></partial>"
    )


def _constant(value: int) -> str:
    return (
        f"<partial><type>CONSTANT</type><conversion>INTEGER</conversion><value>{value}</value>"
        "<scaleMin>0</scaleMin><scaleMax>1</scaleMax></partial>"
    )
