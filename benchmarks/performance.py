"""Measures the decoder's kernels: `python -m benchmarks.performance [--write]`.

At 40 layers of 128 channels: each instruction set and precision, one slot and several, beside PyTorch and a plain read
of the same weights; then what layers and channels cost. Every figure of a row comes from one run of `bench decoder`,
whose contestants take turns. With --write the tables and the picture in docs/performance.md are replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import marked
from rtserver import _engine
from rtserver.bench import decoder, machine

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "pictures" / "performance.png"
BEGIN, END = "<!-- decoder tables: python -m benchmarks.performance --write -->", "<!-- end of decoder tables -->"
LAYERS, CHANNELS = 40, 128
SLOTS = (1, 2, 4, 8)
DEPTHS, WIDTHS = (10, 20, 30, 40), (32, 48, 64, 96, 128)
RATE_HZ = 16000
QUANTISED = ("int4", "int8")


def kernels() -> Iterator[tuple[str, str]]:
    """Instruction set and precision of all kernels that this machine has, the fastest first."""
    for precision in _engine.PRECISIONS:
        told = set()
        for isa in reversed(_engine.available_isas()):
            os.environ["RTSERVER_ISA"] = isa
            name = decoder.run(layers=1, channels=16, precision=precision, seconds=0.0)["isa"]
            if name not in told:
                told.add(name)
                yield name, precision


def measure(seconds: float) -> dict[str, Any]:
    """Every report of `bench decoder`, by table."""
    tables: dict[str, list[dict[str, Any]]] = {"kernels": [], "slots": [], "layers": [], "channels": []}

    def run(table: str, isa: str, **wishes: Any) -> None:
        os.environ["RTSERVER_ISA"] = isa
        report = decoder.run(seconds=seconds, **{"layers": LAYERS, "channels": CHANNELS, **wishes})
        tables[table].append(report)
        line = f"{report['isa']} {report['precision']}, {report['layers']} x {report['residual_channels']}"
        speed = f"{us(report):.1f} us a sample of a slot"
        print(f"{table}: {line}, {report['slots']} slots: {speed}", file=sys.stderr, flush=True)

    with machine.StealMeter() as steal:
        for isa, precision in list(kernels()):
            run("kernels", isa, precision=precision)
        best = _engine.available_isas()[-1]
        for precision in QUANTISED:
            for slots in SLOTS:
                run("slots", best, slots=slots, precision=precision)
            for layers in DEPTHS:
                run("layers", best, layers=layers, precision=precision)
            for channels in WIDTHS:
                run("channels", best, channels=channels, precision=precision)
    return {"tables": tables, "steal_ms": steal.steal_ms}


def us(report: dict[str, Any]) -> float:
    """Microseconds of one core for one sample of one slot."""
    return 1e6 / float(report["aggregate_samples_per_second"])


def of(rows: list[dict[str, Any]], precision: str) -> list[dict[str, Any]]:
    """The rows of one precision."""
    return [r for r in rows if r["precision"] == precision]


def markdown(tables: dict[str, list[dict[str, Any]]]) -> str:
    """The tables as they stand in the document."""
    lines = [
        f"{LAYERS} layers, {CHANNELS} residual and skip channels, one slot, one core:",
        "",
        "| kernels | precision | us a sample | times real time | against PyTorch | weights | roofline ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in tables["kernels"]:
        against = f"{r['speedup_over_torch']:.0f} x" if r["speedup_over_torch"] else "not measured"
        lines.append(
            f"| {r['isa']} | {r['precision']} | {us(r):.1f} | {r['times_realtime']:.2f} | {against}"
            f" | {r['weight_bytes_per_sample'] / 1e6:.1f} MB | {r['roofline_ratio']:.2f} |"
        )
    lines += ["", "Several slots on one core:", ""]
    lines += [
        "| precision | slots | us a sample of a slot | times real time, each | throughput against one slot |",
        "|---|---|---|---|---|",
    ]
    for precision in QUANTISED:
        rows = of(tables["slots"], precision)
        lines += [
            f"| {precision} | {r['slots']} | {us(r):.1f} | {r['times_realtime']:.2f} | {us(rows[0]) / us(r):.2f} x |"
            for r in rows
        ]
    for table, field, title in (
        ("layers", "layers", f"What layers cost, {CHANNELS} channels:"),
        ("channels", "residual_channels", f"What channels cost, {LAYERS} layers:"),
    ):
        lines += ["", title, "", f"| {table} | int4, us a sample | int8, us a sample |", "|---|---|---|"]
        pairs = zip(of(tables[table], "int4"), of(tables[table], "int8"), strict=True)
        lines += [f"| {a[field]} | {us(a):.1f} | {us(b):.1f} |" for a, b in pairs]
    return "\n".join(lines)


def draw(tables: dict[str, list[dict[str, Any]]]) -> None:
    """docs/pictures/performance.png: time of a sample by kernels, slots, layers and channels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (bars, slots, costs) = pyplot.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    fast = [r for r in tables["kernels"] if r["isa"] != "scalar"]
    names = [f"{r['precision']} {r['isa']}" for r in fast]
    bars.barh(names, [us(r) for r in fast], color="#3b6ea5")
    bars.axvline(1e6 / RATE_HZ, color="#b03030", linestyle="--", label="real time at 16 kHz")
    bars.invert_yaxis()
    bars.set(title=f"{LAYERS} x {CHANNELS}, one slot", xlabel="us a sample")
    bars.legend()
    for precision, style in zip(QUANTISED, ("o-", "s--"), strict=True):
        rows = of(tables["slots"], precision)
        slots.plot([r["slots"] for r in rows], [us(r) for r in rows], style, label=precision)
        for table, field in (("layers", "layers"), ("channels", "residual_channels")):
            rows = of(tables[table], precision)
            costs.plot([r[field] for r in rows], [us(r) for r in rows], style, label=f"{table}, {precision}")
    slots.set(title="slots on one core", xlabel="slots", ylabel="us a sample of a slot", ylim=(0, None))
    slots.legend()
    costs.set(title="one slot", xlabel=f"layers of {CHANNELS} channels, channels of {LAYERS} layers", ylim=(0, None))
    costs.set_ylabel("us a sample")
    costs.legend()
    for panel in (bars, slots, costs):
        panel.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.performance", description=__doc__)
    arguments.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of the tables")
    arguments.add_argument("--write", action="store_true", help="put tables and picture into docs/performance.md")
    asked = arguments.parse_args()
    forced = os.environ.get("RTSERVER_ISA")
    try:
        measured = measure(asked.seconds)
    finally:
        os.environ.pop("RTSERVER_ISA", None)
        if forced is not None:
            os.environ["RTSERVER_ISA"] = forced
    text = markdown(measured["tables"])
    print(json.dumps(measured) if asked.json else text)
    if asked.write:
        marked.replace(
            DOCUMENT, BEGIN, END, f"\n{text}\n\nStolen from the cores meanwhile: {measured['steal_ms']:.0f} ms.\n"
        )
        draw(measured["tables"])


if __name__ == "__main__":
    main()
