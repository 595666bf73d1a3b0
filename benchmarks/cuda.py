"""Everything that is claimed of the GPU engine, checked and measured: `python -m benchmarks.cuda [--library FILE]`.

Builds the library where nvcc is (else takes the one that --library names: see docs/gpu.md), checks its logits and
codes, runs compute-sanitizer where there is one, measures speed beside PyTorch, and writes out/cuda.json and
out/cuda.png in less than eight minutes. Needs Python 3.11, numpy and torch; matplotlib for the picture.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cuda_build, cuda_reference, cuda_torch
from benchmarks.cuda_library import Decoder, DeviceError, Library, Slot, generate_together

RATE_HZ = 16_000
TOLERANCE = 2e-3
HOP, CHUNK = 160, 16
SLOTS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 256)
PRESETS = {"live": (16, 160), "paper": (64, 800)}  # latent channels, hop
SANITIZE_SECONDS = 75


def config(layers: int = 40, channels: int = 128, latent: int = 16, hop: int = HOP) -> dict[str, Any]:
    """A decoder in blocks of ten layers, or one of fewer."""
    blocks, a_block = (layers // 10, 10) if layers >= 10 else (1, layers)
    return {
        **{"blocks": blocks, "layers": a_block, "residual_channels": channels, "skip_channels": channels},
        **{"kernel_size": 2, "classes": 256, "latent_channels": latent, "hop_samples": hop, "mu_law": "rounded"},
    }


def random_weights(c: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Of an untrained decoder, as PyTorch would draw them, half as large again: away from the gates' linear part."""
    r, s, l_channels = c["residual_channels"], c["skip_channels"], c["latent_channels"]
    shapes: dict[str, tuple[int, ...]] = {"input": (r, 1, 2), "input_skip": (s, r, 1)}
    for i in range(c["blocks"] * c["layers"]):
        at = f"layers.{i}."
        shapes |= {at + "dilated": (2 * r, r, 2), at + "latent": (2 * r, l_channels, 1)}
        shapes |= {at + "residual": (r, r, 1), at + "skip": (s, r, 1)}
    shapes |= {"output": (s, s, 1), "output_latent": (s, l_channels, 1), "logits": (256, s, 1)}
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        bound = 1.5 / np.sqrt(shape[1] * shape[2])
        weights[f"{name}.weight"] = rng.uniform(-bound, bound, shape).astype(np.float32)
        weights[f"{name}.bias"] = rng.uniform(-bound, bound, shape[0]).astype(np.float32)
    return weights


class Subject:
    """A decoder's config and weights, and streams to play with it."""

    def __init__(self, library: Library, device: int, **of: int) -> None:
        self.library, self.device = library, device
        self.config = config(**of)
        self.weights = random_weights(self.config)
        self.rng = np.random.default_rng(7)

    def decoder(self, precision: str = "fp16", **options: Any) -> Decoder:
        return Decoder(self.library, self.config, self.weights, precision, self.device, **options)

    def latents(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal((*shape, self.config["latent_channels"])).astype(np.float32)


def check_logits(library: Library, device: int, samples: int) -> dict[str, Any]:
    """Greatest differences of logits, by preset, precision and way of exchange."""
    found: dict[str, Any] = {}
    for preset, (latent, hop) in PRESETS.items():
        subject = Subject(library, device, latent=latent, hop=hop)
        latents = subject.latents(-(-samples // hop))
        codes = subject.rng.integers(0, 256, samples, dtype=np.uint8)
        exact = cuda_reference.logits(subject.config, subject.weights, "exact", latents, codes)
        for precision in ("fp16", "bf16", "int8", "fp32"):
            rounded = cuda_reference.logits(subject.config, subject.weights, precision, latents, codes)
            for clusters in (True, False):
                decoder = subject.decoder(precision, clusters=clusters)
                if clusters and not decoder.facts.clustered:
                    continue
                logits = decoder.logits(latents, codes)
                off, off_exact = np.abs(logits - rounded).max(), np.abs(logits - exact).max()
                found[f"{preset} {precision} {'cluster' if clusters else 'grid'}"] = {
                    "off_rounded_weights": float(off),
                    "off_float32": float(off_exact),
                    "logit_span": float(np.ptp(exact)),
                    "passed": bool(off < TOLERANCE),  # NaN never passes
                }
    return found


def check_streams(subject: Subject, rounds: int = 10, slots: int = 24) -> dict[str, Any]:
    """Ten runs with the same bits; slots that come, go and are reset at random play as each does alone."""
    decoder = subject.decoder()
    latents = subject.latents(slots, 4)
    runs = [decoder.open_slot(1).generate(latents[0]) for _ in range(rounds)]
    alone = [decoder.open_slot(seed).generate(latents[seed]) for seed in range(slots)]
    different = 0
    streams: dict[int, tuple[Slot, int]] = {}
    for _ in range(40):
        for seed in subject.rng.permutation(slots)[:4]:
            if int(seed) in streams and subject.rng.random() < 0.5:
                del streams[int(seed)]
            else:
                streams[int(seed)] = (decoder.open_slot(int(seed)), 0)
        by_hop: dict[int, list[int]] = {}
        for seed, (_, hop) in streams.items():
            by_hop.setdefault(hop, []).append(seed)
        for hop, seeds in by_hop.items():
            codes = generate_together(
                subject.library, [streams[s][0] for s in seeds], latents[seeds, hop : hop + 1], CHUNK
            )
            for seed, row in zip(seeds, codes, strict=True):
                different += not np.array_equal(row, alone[seed][hop * HOP : (hop + 1) * HOP])
                streams[seed] = (streams[seed][0], hop + 1)
        streams = {seed: state for seed, state in streams.items() if state[1] < 4}
    return {"identical_runs": all(np.array_equal(runs[0], run) for run in runs), "different_hops_in_company": different}


def timed(play: Callable[[], Any], seconds: float = 0.6, least: int = 3) -> list[float]:
    """Seconds of each call, after one to warm up."""
    play()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < end:
        started = time.perf_counter()
        play()
        found.append(time.perf_counter() - started)
    return found


def speed(decoder: Decoder, library: Library, subject: Subject, slots: int = 1, chunk: int = 0) -> dict[str, float]:
    """Of `slots` streams at once, in launches of `chunk` samples (0: of a hop)."""
    opened = [decoder.open_slot(seed) for seed in range(slots)]
    latents = subject.latents(slots, 1)
    times = timed(lambda: generate_together(library, opened, latents, chunk))
    median = float(np.median(times))
    return {
        "slots": slots,
        "us_per_sample": median / HOP * 1e6,
        "samples_per_second_each": HOP / median,
        "times_realtime_each": HOP / median / RATE_HZ,
        "p99_us_per_sample": float(np.quantile(times, 0.99)) / HOP * 1e6,
    }


def launch_overhead_us(decoder: Decoder, library: Library, subject: Subject) -> float:
    """What a launch costs beyond its samples: hops in launches of one sample against launches of two."""
    one, two = (speed(decoder, library, subject, chunk=chunk)["us_per_sample"] for chunk in (1, 2))
    return 2 * (one - two)


def measure(library: Library, device: int, deadline: float) -> dict[str, Any]:
    """Speeds of one slot, of many, of other sizes; what there is time for, in that order."""
    subject = Subject(library, device)
    decoder = subject.decoder()
    facts = decoder.facts
    report: dict[str, Any] = {"layout": vars(facts), "slot_megabytes": facts.slot_bytes / 2**20}
    report["one_slot"] = {
        precision: speed(subject.decoder(precision), library, subject) for precision in ("fp16", "bf16", "int8")
    }
    report["one_slot"]["fp16, in chunks of 16"] = speed(decoder, library, subject, chunk=CHUNK)
    if facts.clustered:
        report["one_slot"]["fp16, no clusters"] = speed(subject.decoder(clusters=False), library, subject)
    report["launch_overhead_us"] = launch_overhead_us(decoder, library, subject)
    # Least arithmetic and the same exchanges: an upper bound of what an exchange costs.
    hollow = Subject(library, device, channels=1)
    bare = speed(hollow.decoder(team_blocks=min(facts.team_blocks, 16)), library, hollow)
    report["exchange_us"] = bare["us_per_sample"] / 43
    report["floor_us_per_sample"] = bare["us_per_sample"]
    report["torch"] = cuda_torch.measure(subject.config, subject.weights, device)
    report["slots"] = [speed(decoder, library, subject, slots) for slots in SLOTS if time.perf_counter() < deadline]
    report["team_blocks"] = {}
    for blocks in (1, 2, 4, 8, 16):
        if time.perf_counter() > deadline:
            break
        try:
            other = subject.decoder(team_blocks=blocks)
        except DeviceError as error:
            report["team_blocks"][blocks] = str(error)
            continue
        report["team_blocks"][blocks] = [speed(other, library, subject, slots) for slots in (1, 16, 64)]
    for name, sizes in (("layers", (10, 20, 30)), ("channels", (32, 64, 256))):
        report[name] = {}
        for size in sizes:
            if time.perf_counter() < deadline:
                one = Subject(library, device, **{name: size})
                report[name][size] = speed(one.decoder(), library, one)
    return report


def sanitize(path: Path, device: int) -> dict[str, str]:
    """compute-sanitizer's verdicts on a small network, or why there is none."""
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        return {"skipped": "there is no compute-sanitizer"}
    verdicts = {}
    for check in ("memcheck", "racecheck", "synccheck"):
        program = [sys.executable, "-m", "benchmarks.cuda", "--tiny", "--library", str(path), "--device", str(device)]
        try:
            done = subprocess.run(
                [tool, "--tool", check, "--error-exitcode", "9", *program],
                capture_output=True,
                text=True,
                timeout=SANITIZE_SECONDS,
                check=False,
            )
            verdicts[check] = "clean" if done.returncode == 0 else (done.stdout + done.stderr)[-1500:]
        except subprocess.TimeoutExpired:
            verdicts[check] = f"not done in {SANITIZE_SECONDS} s"
    return verdicts


def tiny(library: Library, device: int) -> None:
    """A few samples of a small network in every kind of launch, for compute-sanitizer."""
    subject = Subject(library, device, layers=5, channels=20)
    for clusters in (True, False):
        decoder = subject.decoder(clusters=clusters, team_blocks=4)
        slots = [decoder.open_slot(seed) for seed in range(6)]
        generate_together(library, slots, subject.latents(6, 1), 40)
        decoder.logits(subject.latents(1), np.zeros(40, np.uint8))


def picture(report: dict[str, Any], path: Path) -> None:
    """Slots against speed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed", file=sys.stderr)
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    rows = report["speed"]["slots"]
    axes.loglog([r["slots"] for r in rows], [r["samples_per_second_each"] for r in rows], "o-", base=2, label="a slot")
    total = [r["slots"] * r["samples_per_second_each"] for r in rows]
    axes.loglog([r["slots"] for r in rows], total, "s--", base=2, label="all slots")
    axes.axhline(RATE_HZ, color="grey", label="real time")
    axes.set(xlabel="slots", ylabel="samples a second", title=f"40 x 128, fp16, {report['device']}")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    arguments.add_argument("--library", type=Path, help="built before (benchmarks.cuda_build); default: build it now")
    arguments.add_argument("--device", type=int, default=0)
    arguments.add_argument("--out", type=Path, default=Path("out"), help="folder of cuda.json and cuda.png")
    arguments.add_argument("--minutes", type=float, default=8.0, help="leave out what would take longer")
    arguments.add_argument("--tiny", action="store_true", help="only play a little (for compute-sanitizer)")
    asked = arguments.parse_args()
    started = time.perf_counter()
    path: Path = asked.library or asked.out / "librtcuda.so"
    if asked.library is None:
        if cuda_build.nvcc() is None:
            sys.exit(
                "no nvcc here; build the library elsewhere (python -m benchmarks.cuda_build) and name it: --library"
            )
        cuda_build.build(path)
    library = Library(path.resolve())
    if library.device_count() <= asked.device:
        sys.exit(f"there are {library.device_count()} GPUs here that CUDA sees, so no device {asked.device}")
    if asked.tiny:
        tiny(library, asked.device)
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"python": platform.python_version(), "built_s": time.perf_counter() - started}

    def save() -> None:  # after each part: a run that is cut off leaves what it has found
        report["seconds"] = round(time.perf_counter() - started, 1)
        (asked.out / "cuda.json").write_text(json.dumps(report, indent=1))

    report["logits"] = check_logits(library, asked.device, samples=480)
    save()
    subject = Subject(library, asked.device)
    report["device"] = subject.decoder().facts.device
    report["streams"] = check_streams(subject)
    save()
    report["speed"] = measure(library, asked.device, started + 60 * asked.minutes - 3 * SANITIZE_SECONDS - 20)
    save()
    picture(report, asked.out / "cuda.png")
    report["sanitizer"] = sanitize(path, asked.device)
    passed = all(found["passed"] for found in report["logits"].values())
    passed &= report["streams"]["identical_runs"] and not report["streams"]["different_hops_in_company"]
    report["passed"] = passed
    save()
    print(json.dumps(report, indent=1))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
