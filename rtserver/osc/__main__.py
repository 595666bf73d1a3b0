"""`python -m rtserver.osc [docs/osc.md]`: print the table of messages as Markdown, or bring the file up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from rtserver.osc.document import table, updated


def main() -> None:
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
