"""The demo's picture: spectrograms of input and output, each under its pitch track."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtserver.errors import UserError
from rtserver.pitch import PitchTrack

Audio = npt.NDArray[np.float32]

WINDOW_S = 0.04
TOP_HZ = 4000.0
DEPTH_DB = 80.0


def draw(
    path: Path, source: Audio, output: Audio, rate_hz: int, tracks: tuple[PitchTrack, PitchTrack], title: str
) -> None:
    """Write a PNG. source, output: [N] mono, aligned; tracks: theirs."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("the demo's picture needs matplotlib: `pip install matplotlib`, or `make setup`") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 1, figsize=(13, 8), sharex=True, sharey=True, layout="constrained")
    for panel, audio, track, name, other in (
        (panels[0], source, tracks[0], "in", None),
        (panels[1], output, tracks[1], "out", tracks[0]),
    ):
        _spectrogram(panel, audio, rate_hz)
        if other is not None:
            panel.plot(
                other.times_s, _voiced(other), color="white", linewidth=1.0, alpha=0.8, label="pitch of the input"
            )
        panel.plot(track.times_s, _voiced(track), ".", color="#00e5ff", markersize=3.0, label="pitch")
        panel.set_facecolor("black")
        panel.set_ylabel(f"{name}: frequency (Hz)")
        panel.legend(loc="upper right", framealpha=0.7)
    panels[0].set_title(textwrap.fill(title, 130), loc="left")
    panels[1].set_xlabel("time (s)")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _voiced(track: PitchTrack) -> npt.NDArray[np.float64]:
    return np.where(track.voiced, track.f0_hz, np.nan).astype(np.float64)


def _spectrogram(panel: Any, audio: Audio, rate_hz: int) -> None:
    size = round(WINDOW_S * rate_hz)
    step = size // 4
    padded = np.pad(audio, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]  # [F, size]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), 2 * size, axis=1)) ** 2
    power = power[:, : int(TOP_HZ / rate_hz * 2 * size) + 1]
    level_db = 10.0 * np.log10(np.maximum(power, 1e-20) / max(float(power.max()), 1e-20))
    panel.imshow(
        level_db.T,
        origin="lower",
        aspect="auto",
        extent=(0.0, len(frames) * step / rate_hz, 0.0, TOP_HZ),
        vmin=-DEPTH_DB,
        vmax=0.0,
        cmap="magma",
        interpolation="bilinear",
    )
