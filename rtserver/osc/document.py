"""The table of messages as Markdown, for `docs/osc.md`; a test holds the file to it."""

from __future__ import annotations

from rtserver.osc import addresses
from rtserver.osc.addresses import Argument, Message

BEGIN = "<!-- begin: written by python -m rtserver.osc docs/osc.md -->"
END = "<!-- end -->"

_RECEIVERS = {"server": "client to server", "client": "server to client", "both": "either way"}


def table() -> str:
    """Every message: address, direction, arguments with types, units and ranges, an example."""
    parts: list[str] = []
    for title, socket in (("The control port", "control"), ("The audio port", "audio")):
        parts.append(f"## {title}")
        parts += [_section(message) for message in addresses.MESSAGES if message.socket == socket]
    return "\n\n".join(parts)


def updated(document: str) -> str:
    """The document with what is between its two marks written anew. ValueError if it has no marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no line '{BEGIN}' with '{END}' after it")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def _section(message: Message) -> str:
    lines = [f"### `{message.address}`", "", f"{_RECEIVERS[message.receiver].capitalize()}. {message.doc}"]
    if message.arguments:
        lines += ["", "| | type | range | |", "|---|---|---|---|", *map(_row, message.arguments)]
    else:
        lines += ["", "No arguments."]
    if message.options:
        lines += ["", "Then any of these, each as two strings, name and value:", ""]
        lines += ["| | value | range | |", "|---|---|---|---|", *map(_row, message.options)]
    if message.example:
        lines += ["", f"    {message.example}"]
    return "\n".join(lines)


def _row(argument: Argument) -> str:
    types = f"`{argument.tag}`" + "".join(f", `{tag}`" for tag in argument.also)
    reach = " ".join(part for part in (argument.range_text, argument.unit) if part)
    return f"| {argument.name} | {types} | {reach} | {argument.doc} |"
