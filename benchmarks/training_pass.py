"""What a decoder's training pass takes on a CPU: `python -m benchmarks.training_pass [--write]`.

Losses of half a second and their gradients, by the engine's pass and by PyTorch, on one thread, by turns; the least
time of each counts. Both in float32 and, where the processor has AMX, in bfloat16. With --write the table in
docs/performance.md is replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import marked
from models import mu_law
from models.decoder import Decoder
from rtserver._engine import DecoderPass
from rtserver.model_config import DecoderConfig
from training import cpu_decoder

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- training table: python -m benchmarks.training_pass --write -->", "<!-- end of training table -->"
SHAPES = {
    "2 x 9 x 48, skip 64 (piano.pt)": (2, 9, 48, 64),
    "3 x 10 x 64": (3, 10, 64, 64),
    "4 x 10 x 128": (4, 10, 128, 128),
}
HOP, LATENT, SAMPLES = 160, 16, 8000


def seconds(run: Callable[[], Tensor]) -> float:
    began = time.process_time()
    run().sum().backward()
    return time.process_time() - began


def measure(shape: tuple[int, int, int, int], batch: int, rounds: int) -> dict[str, float]:
    """Processor milliseconds of a step of so many segments of half a second."""
    blocks, layers, r, s = shape
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(blocks=blocks, layers=layers, residual_channels=r, skip_channels=s), LATENT, HOP)
    codes = torch.randint(0, 256, (batch, SAMPLES))
    past, latents = mu_law.network_input(codes), torch.randn(batch, LATENT, SAMPLES // HOP)
    if not cpu_decoder.usable(decoder, past):
        sys.exit("this processor has no kernels of the training pass: it needs AVX2")

    def engine(bfloat16: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return cpu_decoder.losses(decoder, past, latents, codes)

    def pytorch(bfloat16: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = decoder(past.unsqueeze(1), latents)
        return F.cross_entropy(logits.float(), codes, reduction="none")

    ways: dict[str, Callable[[], Tensor]] = {
        "engine": lambda: engine(False),
        "torch": lambda: pytorch(False),
    }
    if DecoderPass.has_bfloat16():
        ways |= {"engine, bfloat16": lambda: engine(True), "torch, bfloat16": lambda: pytorch(True)}
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            least[name] = min(least[name], seconds(way))
    return {name: 1000.0 * value for name, value in least.items()}


def markdown(found: dict[str, dict[str, float]], batch: int) -> str:
    """The table as it stands in the document."""
    lines = [
        "| decoder | products | engine's pass | PyTorch | times as fast | seconds of audio a second |",
        "|---|---|---|---|---|---|",
    ]
    audio = batch * SAMPLES / 16000
    for name, row in found.items():
        for kind, suffix in (("float32", ""), ("bfloat16", ", bfloat16")):
            if f"engine{suffix}" in row:
                engine, pytorch = row[f"engine{suffix}"], row[f"torch{suffix}"]
                times = f"{engine:.0f} ms | {pytorch:.0f} ms | {pytorch / engine:.1f} | {audio / engine * 1000.0:.1f}"
                lines.append(f"| {name} | {kind} | {times} |")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.training_pass", description=__doc__)
    arguments.add_argument("--batch", type=int, default=3, help="segments of half a second")
    arguments.add_argument("--rounds", type=int, default=5, help="steps of each")
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    found = {name: measure(shape, asked.batch, asked.rounds) for name, shape in SHAPES.items()}
    table = markdown(found, asked.batch)
    print(json.dumps(found) if asked.json else table)
    if asked.write:
        marked.replace(DOCUMENT, BEGIN, END, table)


if __name__ == "__main__":
    main()
