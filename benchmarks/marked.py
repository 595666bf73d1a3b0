"""A measured table in a document: between two markers, the first of which says how it was made."""

from __future__ import annotations

from pathlib import Path


def replace(document: Path, begin: str, end: str, text: str) -> None:
    """Put `text` between the lines `begin` and `end`. ValueError if the document hasn't got both, in this order."""
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document} has no lines {begin!r} and {end!r} to put the table between")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
