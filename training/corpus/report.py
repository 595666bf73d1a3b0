"""What a corpus holds: a table in Markdown, and a picture."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import storage
from training.corpus.acoustics import RATE_HZ

SPLITS = ("train", "valid", "test", "unseen")


def summarise(folder: Path, planned: bool = False) -> dict[str, dict[str, Any]]:
    """By home: seconds of unique music a split, number of works, licences; by timbre: rendered seconds.

    Of what is there, or, if `planned`, of what the index promises.
    """
    index = {reel["name"]: reel for reel in storage.read_index(folder)}
    homes: dict[str, Any] = defaultdict(lambda: {"seconds": defaultdict(float), "works": set(), "licences": set()})
    timbres: dict[str, Any] = defaultdict(lambda: defaultdict(float))
    seen = set()
    for record in _promised(index) if planned else storage.read_records(folder):
        timbres[record["timbre"]][record["split"]] += record["seconds"]
        if record["reel"] in seen or record["split"] == "unseen":  # which is the music of test once more
            continue
        seen.add(record["reel"])
        home = homes[record["home"]]
        home["seconds"][record["split"]] += record["seconds"]
        home["works"] |= {w["work"] or w["path"] for w in index[record["reel"]]["works"]}
        home["licences"] |= {w["licence"] for w in index[record["reel"]]["works"]}
    return {"homes": dict(homes), "timbres": dict(timbres)}


def _promised(index: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**{key: reel[key] for key in ("split", "home")}, "reel": name, "timbre": t, "seconds": reel["seconds"] or 0.0}
        for name, reel in index.items()
        for t in reel["timbres"]
    ]


def table(folder: Path, planned: bool = False) -> str:
    """Hours by music and split, works, licences, and the hours that each timbre was rendered in."""
    found = summarise(folder, planned)
    lines = ["| music for | train | valid | test | works | licences |", "|---|---|---|---|---|---|"]
    for name, home in found["homes"].items():
        hours = " | ".join(f"{home['seconds'][s] / 3600:.2f}" for s in SPLITS[:3])
        lines.append(f"| {name} | {hours} | {len(home['works'])} | {', '.join(sorted(home['licences']))} |")
    lines += ["", "| timbre | train | valid | test | unseen |", "|---|---|---|---|---|"]
    for name, seconds in found["timbres"].items():
        lines.append(f"| {name} | " + " | ".join(f"{seconds[s] / 3600:.2f}" for s in SPLITS) + " |")
    return "\n".join(lines)


def picture(folder: Path, out: Path, planned: bool = False) -> None:
    """Hours a timbre and split; hours of music a home; pitches; and ten seconds of one reel in its timbres."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = summarise(folder, planned)
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 8), constrained_layout=True)
    for axis, rows, title in (
        (axes[0, 0], {k: v["seconds"] for k, v in found["homes"].items()}, "unique music, h"),
        (axes[0, 1], found["timbres"], "rendered, h"),
    ):
        left = np.zeros(len(rows))
        for split in SPLITS:
            hours = np.array([seconds[split] / 3600 for seconds in rows.values()])
            axis.barh(list(rows), hours, left=left, label=split)
            left += hours
        axis.invert_yaxis(), axis.set_title(title), axis.legend(loc="lower right")
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(128))
    for reel in storage.read_index(folder):
        path = storage.roll_path(folder, reel["name"])
        if reel["split"] == "train" and path.exists():
            counts[reel["home"]] += storage.unpack_roll(np.load(path, mmap_mode="r")[::10]).sum(axis=0)
    for name, of_pitch in counts.items():
        axes[1, 0].plot(of_pitch / max(of_pitch.sum(), 1), lw=1, label=name)
    axes[1, 0].set_title("share of sounding time by MIDI pitch"), axes[1, 0].legend(), axes[1, 0].set_xlim(20, 110)
    _spectrograms(folder, axes[1, 1])
    figure.savefig(out, dpi=80)
    pyplot.close(figure)


def _spectrograms(folder: Path, axis: Any) -> None:
    """Ten seconds of the first reel with the most timbres, one timbre above the other, to 4 kHz each."""
    by_reel: dict[str, list[str]] = defaultdict(list)
    for record in storage.read_records(folder):
        by_reel[record["reel"]].append(record["timbre"])
    if not by_reel:
        return
    reel = max(by_reel, key=lambda name: len(by_reel[name]))
    names = by_reel[reel][:6]
    stacked = []
    for name in names:
        audio = np.load(storage.audio_path(folder, reel, name), mmap_mode="r")[20 * RATE_HZ : 30 * RATE_HZ]
        frames = np.lib.stride_tricks.sliding_window_view(audio / 32767.0, 1024)[::160] * np.hanning(1024)
        stacked.append(20 * np.log10(np.abs(np.fft.rfft(frames))[:, :256].T + 1e-3))
    axis.imshow(np.concatenate(stacked), origin="lower", aspect="auto", extent=(0, 10, 0, len(names)), cmap="magma")
    axis.set_yticks(np.arange(len(names)) + 0.5, names), axis.set_xlabel("s"), axis.set_title(f"{reel}, 0 to 4 kHz")
