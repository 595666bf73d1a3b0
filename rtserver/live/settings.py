"""What `rtserver live` remembers from one time to the next: devices, and what MIDI controllers were taught.

A folder of the user's, `RTSERVER_CONFIG` names another. Losing it costs nothing but a choice.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

VARIABLE = "RTSERVER_CONFIG"


def folder() -> Path:
    """Where settings are kept: that of the platform's conventions."""
    told = os.environ.get(VARIABLE)
    if told:
        return Path(told).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return base / "rtserver"


def load() -> dict[str, Any]:
    """What was remembered; nothing if there is nothing that can be read."""
    try:
        kept = json.loads((folder() / "live.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def remember(**values: Any) -> None:
    """Add to what is remembered. Silently nothing if the folder can't be written."""
    kept = {**load(), **values}
    try:
        folder().mkdir(parents=True, exist_ok=True)
        fresh = folder() / f"live.json.{os.getpid()}"
        fresh.write_text(json.dumps(kept, indent=2), encoding="utf-8")
        fresh.replace(folder() / "live.json")
    except OSError:
        pass
