"""What hostile input costs: `python -m benchmarks.hostile [--write]`.

The decoder at the live preset with latents of nothing, of denormal, infinite, huge numbers and of NaN, against latents
as they come from the encoder. All take turns, a hop each; the least time of each counts, in parts of the normal one's.
With --write the table in docs/performance.md is replaced.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks import marked
from rtserver import _engine
from rtserver.bench import decoder

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- hostile table: python -m benchmarks.hostile --write -->", "<!-- end of hostile table -->"
KINDS = {"zero": 0.0, "denormal": 1e-40, "NaN": np.nan, "infinite": np.inf, "greatest": 3e38}


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Time of a hop of each kind in parts of a normal hop's, by precision."""
    subject = decoder.choose("live", None, None, None)
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((1, subject.config.encoder.latent_channels)).astype(np.float32)
    latents = {"normal": normal} | {name: np.full_like(normal, value) for name, value in KINDS.items()}
    found = {}
    for precision in _engine.PRECISIONS:
        engine = decoder.build(subject, precision)
        slots = {name: engine.open_slot(1) for name in latents}
        least = dict.fromkeys(latents, float("inf"))
        for _ in range(rounds):
            for name, given in latents.items():
                started_s = time.perf_counter()
                slots[name].generate(given)
                least[name] = min(least[name], time.perf_counter() - started_s)
        found[precision] = {name: round(least[name] / least["normal"], 3) for name in KINDS}
    return found


def markdown(found: dict[str, dict[str, float]]) -> str:
    """The table as it stands in the document."""
    lines = [f"| latents | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    return "\n".join(
        lines + [f"| {name} | {' | '.join(f'{row[name]:.2f}' for row in found.values())} |" for name in KINDS]
    )


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=200, help="hops of each kind")
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    asked = arguments.parse_args()
    found = measure(asked.rounds)
    print(json.dumps(found) if asked.json else markdown(found))
    if asked.write:
        marked.replace(DOCUMENT, BEGIN, END, f"\n{markdown(found)}\n")


if __name__ == "__main__":
    main()
