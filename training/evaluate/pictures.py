"""Pictures of the evaluation, as PNG bytes: spectrograms, the latents of notes, confusions. Needs matplotlib."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from rtserver.errors import UserError

RATE_HZ = 16000


def _plots() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise UserError("pictures need matplotlib: `pip install 'rtserver[demo]'`") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _png(figure: Any, dpi: int = 80) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    _plots().close(figure)
    return buffer.getvalue()


def spectrograms(audio: dict[str, np.ndarray]) -> bytes:
    """One above the other, 60 Hz to 8 kHz, 70 dB below the loudest of each."""
    pyplot = _plots()
    figure, axes = pyplot.subplots(len(audio), 1, figsize=(7, 1.7 * len(audio)), sharex=True, squeeze=False)
    for axis, (title, samples) in zip(axes[:, 0], audio.items(), strict=True):
        n, hop = 1024, 160
        padded = np.pad(samples, (n // 2, n))
        frames = np.lib.stride_tricks.sliding_window_view(padded, n)[: len(samples) : hop]
        power = np.abs(np.fft.rfft(frames * np.hanning(n), axis=1)) ** 2
        decibels = 10 * np.log10(power.T + 1e-12)
        top = float(decibels.max())
        extent = (0.0, len(samples) / RATE_HZ, 0.0, RATE_HZ / 2)
        axis.imshow(decibels, origin="lower", aspect="auto", extent=extent, vmin=top - 70, vmax=top, cmap="magma")
        axis.set_ylim(60, 8000)
        axis.set_yscale("symlog", linthresh=500)
        axis.set_yticks([100, 500, 1000, 4000], ["100", "500", "1k", "4k"])
        axis.set_title(title, fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("s")
    return _png(figure)


def note_latents(latents: dict[str, np.ndarray], first_pitch: int) -> bytes:
    """Cosines of every instrument's notes with the first one's, without the mean over all: after the paper's Fig. 3."""
    from training.evaluate.latents import cosines

    pyplot = _plots()
    mean = np.concatenate(list(latents.values())).mean(axis=0)
    names = list(latents)
    figure, axes = pyplot.subplots(1, len(names), figsize=(2.6 * len(names), 2.8), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        found = cosines(latents[names[0]] - mean, latents[name] - mean)
        last = first_pitch + len(found) - 1
        extent = (first_pitch, last, first_pitch, last)
        image = axis.imshow(found, origin="lower", extent=extent, vmin=-1, vmax=1, cmap="RdBu_r")
        axis.set_title(f"{names[0]} / {name}", fontsize=9)
        axis.set_xlabel("MIDI pitch", fontsize=8)
    figure.colorbar(image, ax=axes[0].tolist(), shrink=0.8)
    return _png(figure)


def table(rows: dict[str, Any]) -> bytes:
    """NCC and DTW of each direction beside the paper's and beside chance."""
    from training.evaluate.table2 import PAPER

    pyplot = _plots()
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 2.6))
    for axis, measure in zip(axes, ("ncc", "dtw"), strict=True):
        for i, (name, row) in enumerate(rows.items()):
            bars = (row[measure], PAPER[name.partition("_to_")[0]][measure], row[f"chance_{measure}"])
            for k, (value, colour) in enumerate(zip(bars, ("#2b6cb0", "#a0aec0", "#e2a04a"), strict=True)):
                label = ("this pack", "the paper", "chance: another segment")[k] if i == 0 else None
                axis.bar(i + 0.27 * (k - 1), value or 0.0, 0.25, color=colour, label=label)
        axis.set_xticks(range(len(rows)), [name.replace("_to_", "\nto ") for name in rows], fontsize=8)
        axis.set_ylim(0.4, 1.0)
        axis.set_title(measure.upper(), fontsize=9)
    axes[0].legend(fontsize=7, loc="lower left")
    return _png(figure)


def confusion(rows: dict[str, dict[str, int]], title: str) -> bytes:
    """Shares of what each row was heard as."""
    pyplot = _plots()
    names = sorted({name for counts in rows.values() for name in counts} | set(rows))
    shares = np.array([[rows[r].get(c, 0) / max(1, sum(rows[r].values())) for c in names] for r in rows])
    figure, axis = pyplot.subplots(figsize=(1.2 + 0.6 * len(names), 1.2 + 0.4 * len(rows)))
    axis.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (i, j), share in np.ndenumerate(shares):
        if share > 0:
            axis.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=7, color="w" if share > 0.6 else "k")
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axis.set_title(title, fontsize=9)
    return _png(figure)
