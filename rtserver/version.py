"""Which version this is."""

from __future__ import annotations


def rtserver_version() -> str:
    """Of the installed package; "0" in a checkout that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rtserver")
    except PackageNotFoundError:
        return "0"
