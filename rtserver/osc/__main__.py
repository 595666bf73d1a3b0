"""`python -m rtserver.osc [FILE...]`: print the table of messages as Markdown, or bring files up to date.

FILE.md gets the table between its marks; FILE.tosc is TouchOSC's layout, FILE.ReaperOSC REAPER's pattern file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rtserver.osc.document import table, updated
from rtserver.osc.layouts import reaper, touchosc


def main() -> None:
    if len(sys.argv) < 2:
        print(table())
    for path in map(Path, sys.argv[1:]):
        if path.suffix == ".tosc":
            path.write_bytes(touchosc())
        elif path.suffix == ".ReaperOSC":
            path.write_text(reaper(), encoding="utf-8")
        else:
            path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
