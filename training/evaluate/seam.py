"""How smooth is a blend? The change of the spectrum within the crossfade beside the change elsewhere.

Three ways from one passage to another: latents crossfaded and decoded once (`rtserver blend`), two translations
crossfaded as audio, and a hard cut; and as much of a translation without any seam. Change is the RMS difference of
log-mel spectra 20 ms apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track as progress_track

from rtserver.blending import blend
from rtserver.pipeline import Translator
from training.evaluate.domains import FFT_SAMPLES, mel_filters
from training.evaluate.intervals import summary

RATE_HZ, HOP_SAMPLES = 16000, 160
APART = 2  # frames of 10 ms
LOG = Console(stderr=True)


def changes(audio: np.ndarray) -> np.ndarray:
    """float64 [F]: how much the spectrum changes in 20 ms, every 10 ms, in nepers RMS over 64 mel bands."""
    window = torch.hann_window(FFT_SAMPLES // 2)
    spectrum = torch.stft(
        torch.from_numpy(audio.astype(np.float32)), FFT_SAMPLES // 2, HOP_SAMPLES, window=window, return_complex=True
    )
    mel = np.log(mel_filters()[:, ::2] @ spectrum.abs().square().numpy() + 1e-3)
    return np.sqrt(np.square(mel[:, APART:] - mel[:, :-APART]).mean(axis=0))


def roughness(audio: np.ndarray, from_s: float, until_s: float) -> float:
    """The greatest change in a stretch of float32 [N] over the 95th percentile of all others.

    Music without a seam is above 1 as well, the more so the longer the stretch: compare stretches of one length.
    """
    found = changes(audio)
    first, last = (int(s * RATE_HZ / HOP_SAMPLES) for s in (from_s, until_s))
    inside = found[max(0, first - APART) : last + APART]
    outside = np.concatenate([found[: max(0, first - APART)], found[last + APART :]])
    usual = float(np.quantile(outside, 0.95)) if len(outside) else 0.0
    return float(inside.max()) / usual if len(inside) and usual > 0 else float("nan")


def crossfaded(first: np.ndarray, second: np.ndarray, seconds: float) -> np.ndarray:
    """Two signals [N], the second fading in linearly over the end of the first; 0 seconds: a hard cut."""
    n = round(seconds * RATE_HZ)
    if n == 0:
        return np.concatenate([first, second])
    t = (np.arange(n, dtype=np.float32) + 0.5) / n
    return np.concatenate([first[:-n], (1 - t) * first[-n:] + t * second[:n], second[n:]])


def evaluate(
    translator: Translator,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    translations: Sequence[tuple[np.ndarray, np.ndarray]],
    decoder: str,
    crossfade_s: float = 1.5,
    seed: int = 0,
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Roughness of the three ways over all pairs of inputs, float32 [N] at 16 kHz, and the blends themselves."""
    rows: dict[str, list[float]] = {"blend": [], "audio_crossfade": [], "hard_cut": [], "unblended": []}
    blends = []
    both = list(zip(pairs, translations, strict=True))
    for (a, b), (played_a, played_b) in progress_track(both, "blending", console=LOG):
        mixed = blend(translator, (a, RATE_HZ), (b, RATE_HZ), decoder, crossfade_s, seed)
        end_s = len(a) / RATE_HZ
        rows["blend"].append(roughness(mixed, end_s - crossfade_s, end_s))
        faded = crossfaded(played_a, played_b, crossfade_s)
        rows["audio_crossfade"].append(roughness(faded, end_s - crossfade_s, end_s))
        cut = crossfaded(played_a, played_b, 0.0)
        rows["hard_cut"].append(roughness(cut, end_s - crossfade_s / 2, end_s + crossfade_s / 2))
        rows["unblended"].append(roughness(played_a, (end_s - crossfade_s) / 2, (end_s + crossfade_s) / 2))
        blends.append(mixed)
    return {"crossfade_s": crossfade_s, **{name: summary(values) for name, values in rows.items()}}, blends
