"""The namespace as OSCQuery JSON (https://github.com/Vidvox/OSCQueryProposal): what `GET /` answers.

Touch surfaces and patchers that speak OSCQuery find every parameter of every open session, with ranges and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rtserver.osc import addresses
from rtserver.osc.addresses import Argument, Message

_WRITE, _READ_WRITE = 2, 3
ATTRIBUTES = ("FULL_PATH", "CONTENTS", "DESCRIPTION", "TYPE", "ACCESS", "RANGE", "UNIT", "VALUE")


def oscquery(
    table: Iterable[Message] = addresses.MESSAGES, values: Mapping[int, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The tree of everything the control port accepts. values: for each open session, its parameters by name."""
    sessions = values or {}
    root: dict[str, Any] = {"FULL_PATH": "/", "DESCRIPTION": "rtserver", "CONTENTS": {}}
    for message in table:
        if message.socket != "control" or message.receiver == "client":
            continue
        if "<session>" not in message.address:
            _insert(root, message.address, _leaf(message, message.address, None))
            continue
        name = message.address.rsplit("/", 1)[1]
        for session, known in sessions.items():
            address = message.address.replace("<session>", str(session))
            _insert(root, address, _leaf(message, address, known.get(name)))
    return root


def host_info(osc_port: int, name: str = "rtserver") -> dict[str, Any]:
    """What `GET /?HOST_INFO` answers. The WebSocket is at the same port and address as the namespace."""
    extensions = ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT", "LISTEN", "PATH_ADDED", "PATH_REMOVED")
    return {
        "NAME": name,
        "OSC_PORT": osc_port,
        "OSC_TRANSPORT": "UDP",
        "EXTENSIONS": {**dict.fromkeys(extensions, True), "TYPE": True, "CRITICAL": False, "CLIPMODE": False},
    }


def node_at(tree: Mapping[str, Any], path: str) -> Any:
    """The branch of a namespace at an address, None where there is none."""
    node: Any = tree
    for part in filter(None, path.split("/")):
        node = node.get("CONTENTS", {}).get(part)
        if node is None:
            return None
    return node


def _insert(root: dict[str, Any], address: str, leaf: dict[str, Any]) -> None:
    node, path = root, ""
    *parents, last = address.strip("/").split("/")
    for part in parents:
        path += f"/{part}"
        node = node.setdefault("CONTENTS", {}).setdefault(part, {"FULL_PATH": path, "CONTENTS": {}})
    contents = node.setdefault("CONTENTS", {})
    contents[last] = {**contents.get(last, {}), **leaf}


def _leaf(message: Message, address: str, value: Any) -> dict[str, Any]:
    leaf: dict[str, Any] = {
        "FULL_PATH": address,
        "DESCRIPTION": message.doc,
        "TYPE": message.tags[1:],
        "ACCESS": _WRITE if value is None else _READ_WRITE,
    }
    if message.arguments:
        leaf["RANGE"] = [_range(argument) for argument in message.arguments]
        units = [argument.unit for argument in message.arguments]
        if any(units):
            leaf["UNIT"] = units
    if value is not None:
        leaf["VALUE"] = [value]
    return leaf


def _range(argument: Argument) -> dict[str, Any]:
    if argument.choices:
        return {"VALS": list(argument.choices)}
    ends = {"MIN": argument.low, "MAX": argument.high}
    return {name: end for name, end in ends.items() if end is not None}
