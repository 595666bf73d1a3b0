"""`rtserver` whose packs cost what a test says: python -m tests.server.costly_server DECODER MORE ENCODER ARGUMENTS...

The worker measures as ever; what it measured is replaced where the control process writes it down.
"""

from __future__ import annotations

import sys

from rtserver.control.admission import Admission
from rtserver.worker.messages import Cost


def pretend(cost: Cost) -> None:
    """Have every model that costs anything cost this."""
    learn = Admission.learn
    Admission.learn = lambda self, model, measured: learn(self, model, cost if measured != Cost() else measured)  # type: ignore[method-assign]


if __name__ == "__main__":  # not in the worker, which imports this module too
    decoder, more, encoder = map(float, sys.argv[1:4])
    pretend(Cost(decoder, more, encoder))
    sys.argv[1:4] = []
    from rtserver.cli import main

    main()
