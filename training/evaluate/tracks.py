"""The measures of Mor et al. 2018, Table 2: pitch of the output against pitch of the input.

The tracker is librosa.piptrack (the one librosa had in 2018; the paper says only "librosa"): in every frame the
frequency of the strongest spectral peak, 0 where there is none. FFTs of 2,048 samples every 512, peaks of 60 Hz to
4 kHz that reach a tenth of their frame's greatest magnitude. Correlations are normalised but not centred, in Hz, so two
unrelated melodies already come near 1: read them beside chance. Shapes: N samples at 16 kHz, F frames of 32 ms.
"""

from __future__ import annotations

import numpy as np

RATE_HZ = 16000
FFT_SAMPLES, HOP_SAMPLES = 2048, 512
LOWEST_HZ, HIGHEST_HZ = 60.0, 4000.0
LARGEST_SHIFT_S = 0.5
SETTINGS = (
    f"librosa.piptrack, sr {RATE_HZ}, n_fft {FFT_SAMPLES}, hop {HOP_SAMPLES}, {LOWEST_HZ:.0f} to {HIGHEST_HZ:.0f} Hz,"
    f" threshold 0.1, strongest peak; shifts of up to {LARGEST_SHIFT_S} s; dynamic time warping on the difference in Hz"
)


def track(audio: np.ndarray) -> np.ndarray:
    """Hz of the strongest peak, float64 [F], 0 in silence. UserError if librosa is missing."""
    from training.evaluate.needs import needs_librosa

    librosa = needs_librosa()
    pitches, magnitudes = librosa.piptrack(
        y=audio.astype(np.float32),
        sr=RATE_HZ,
        n_fft=FFT_SAMPLES,
        hop_length=HOP_SAMPLES,
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        threshold=0.1,
    )
    strongest = magnitudes.argmax(axis=0)
    return np.asarray(pitches[strongest, np.arange(pitches.shape[1])], dtype=np.float64)


def normalised_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two [F], not centred; 0 if one of them is all zeros."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0.0 else 0.0


def best_shift_correlation(source: np.ndarray, output: np.ndarray, largest_s: float = LARGEST_SHIFT_S) -> float:
    """The greatest normalised correlation of two tracks [F], one of them shifted by up to `largest_s` either way."""
    frames = min(len(source), len(output))
    most = min(round(largest_s * RATE_HZ / HOP_SAMPLES), frames - 1)
    scores = [0.0]
    for shift in range(-most, most + 1):
        a = source[max(0, -shift) : frames - max(0, shift)]
        b = output[max(0, shift) : frames - max(0, -shift)]
        scores.append(normalised_correlation(a, b))
    return max(scores)


def aligned_correlation(source: np.ndarray, output: np.ndarray) -> float:
    """The normalised correlation of two tracks [F] along the path of dynamic time warping."""
    path = warping_path(np.abs(source[:, None] - output[None, :]))
    return normalised_correlation(source[path[:, 0]], output[path[:, 1]])


def warping_path(costs: np.ndarray) -> np.ndarray:
    """The cheapest path [K, 2] through costs [A, B] from corner to corner, by steps of one in either or both.

    The same steps and weights as librosa.sequence.dtw's, without what that compiles at its first call.
    """
    rows = costs.tolist()
    infinite = float("inf")
    before = [0.0] + [infinite] * len(rows[0])
    choices = np.zeros(costs.shape, dtype=np.int8)  # 0 both, 1 the first alone, 2 the second alone
    for i, row in enumerate(rows):
        now = [infinite]
        for j, cost in enumerate(row):
            both, first, second = before[j], before[j + 1], now[j]
            least = min(both, first, second)
            choices[i, j] = 0 if both == least else 1 if first == least else 2
            now.append(cost + least)
        before = now
    i, j = costs.shape[0] - 1, costs.shape[1] - 1
    path = [(i, j)]
    while i or j:
        step = choices[i, j]
        i, j = i - (step != 2), j - (step != 1)
        path.append((i, j))
    return np.array(path[::-1])
