"""How much later an instrument speaks than its input: the lag at which their onsets agree best.

Onset strength is the rise of log-mel energy (64 bands), every 5 ms. Shapes: N samples at 16 kHz, F frames of 5 ms.
"""

from __future__ import annotations

import numpy as np
import torch

from training.evaluate.domains import FFT_SAMPLES, RATE_HZ, mel_filters

HOP_SAMPLES = 80
EARLIEST_S, LATEST_S = -0.1, 0.3


def strength(audio: np.ndarray) -> np.ndarray:
    """float64 [F]: the mean rise over the bands, without the mean over time."""
    spectrum = torch.stft(
        torch.from_numpy(audio.astype(np.float32)),
        512,
        HOP_SAMPLES,
        window=torch.hann_window(512),
        center=True,
        return_complex=True,
    )
    filters = mel_filters()[:, :: FFT_SAMPLES // 512]
    mel = np.log(filters @ spectrum.abs().square().numpy() + 1e-4)
    rise = np.maximum(np.diff(mel, axis=1, prepend=mel[:, :1]), 0.0).mean(axis=0)
    return np.asarray(rise - rise.mean(), dtype=np.float64)


def delay_s(source: np.ndarray, output: np.ndarray) -> float:
    """Seconds from -0.1 to 0.3 by which the onsets of `output` [N] follow those of `source`; nan if one is silent."""
    a, b = strength(source), strength(output)
    frames = min(len(a), len(b))
    a, b = a[:frames], b[:frames]
    if not a.any() or not b.any():
        return float("nan")
    lags = range(round(EARLIEST_S * RATE_HZ / HOP_SAMPLES), round(LATEST_S * RATE_HZ / HOP_SAMPLES) + 1)

    def agreement(lag: int) -> float:
        return float(a[max(0, -lag) : frames - max(0, lag)] @ b[max(0, lag) : frames + min(0, lag)])

    best = max(lags, key=agreement)
    return best * HOP_SAMPLES / RATE_HZ
