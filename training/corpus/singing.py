"""A singer in numbers: harmonics of a gliding, vibrating pitch under the formants of vowels, with breath.

Not a voice that could be taken for a human one, but one that does what voices do and instruments don't: slurred
pitches, vibrato that waits, spectra that change with the vowel and not with the pitch, notes that begin with a
consonant's noise. Curves are drawn every 5 ms (K points). Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from training.corpus.acoustics import RATE_HZ
from training.corpus.midi import Note

CONTROL_S = 0.005
# Formant frequencies (Hz) of sung vowels, rounded from the means of Peterson and Barney 1952 (men); a singer's formant
# stands in for the fourth.
VOWELS = {
    "a": (730.0, 1090.0, 2440.0, 3000.0),
    "e": (530.0, 1840.0, 2480.0, 3000.0),
    "i": (270.0, 2290.0, 3010.0, 3300.0),
    "o": (570.0, 840.0, 2410.0, 2900.0),
    "u": (300.0, 870.0, 2240.0, 2900.0),
}
BANDWIDTHS_HZ = np.array([90.0, 110.0, 160.0, 200.0])
GAINS = np.array([1.0, 0.6, 0.35, 0.4])
HARMONICS = 30
HIGHEST_HZ = 7000.0


def synthesise(line: list[Note], seconds: float, seed: int) -> np.ndarray:
    """Sing a monophonic line in order of its onsets; float64 [seconds * 16000], each phrase by a singer of its own.

    High voices have shorter tracts: formants are scaled with the median pitch of a phrase, up to 25 %.
    """
    rng = np.random.default_rng([seed, 5])
    out = np.zeros(int(seconds * RATE_HZ))
    for phrase in _phrases(line):
        start = int(max(0.0, phrase[0].onset_s - 0.05) * RATE_HZ)
        sung = _sing(phrase, start / RATE_HZ, rng)
        out[start : start + len(sung)] += sung[: len(out) - start]
    return out + 1e-4 * rng.standard_normal(len(out))


def _phrases(line: list[Note]) -> list[list[Note]]:
    """Runs of notes without a rest of a quarter second, twelve at most."""
    out: list[list[Note]] = []
    for note in line:
        if not out or note.onset_s - out[-1][-1].end_s > 0.25 or len(out[-1]) == 12:
            out.append([])
        out[-1].append(note)
    return out


def _sing(phrase: list[Note], start_s: float, rng: np.random.Generator) -> np.ndarray:
    end_s = phrase[-1].end_s + 0.15
    points = int((end_s - start_s) / CONTROL_S) + 2
    time = np.arange(points) * CONTROL_S + start_s
    pitch, level = np.full(points, float(phrase[0].pitch)), np.zeros(points)
    tract = 1.0 + np.clip((np.median([n.pitch for n in phrase]) - 55.0) / 24.0, -0.2, 1.0) * 0.25
    tract *= rng.uniform(0.94, 1.06)
    vibrato_hz, vibrato = rng.uniform(4.8, 6.5), rng.uniform(0.0, 0.6)
    formants = np.zeros((points, 4))
    noise_level = np.zeros(points)
    for i, note in enumerate(phrase):
        first = max(0, int((note.onset_s - start_s) / CONTROL_S))
        last = min(points, int((note.end_s - start_s) / CONTROL_S) + 1)
        since = time[first:] - note.onset_s
        origin = phrase[i - 1].pitch if i else note.pitch - rng.uniform(0.0, 1.0)
        glide = np.clip(since / rng.uniform(0.04, 0.1), 0.0, 1.0)
        pitch[first:] = origin + (note.pitch + rng.normal(0.0, 0.08) - origin) * (0.5 - 0.5 * np.cos(np.pi * glide))
        waver = np.clip((since - 0.25) / 0.3, 0.0, 1.0) * vibrato * np.sin(2 * np.pi * vibrato_hz * since)
        pitch[first:] += waver
        loudness = (note.velocity / 100.0) ** 1.5
        rise = np.clip(since[: last - first] / rng.uniform(0.02, 0.06), 0.0, 1.0)
        fall = np.clip((note.end_s - time[first:last]) / 0.06, 0.0, 1.0)
        level[first:last] = loudness * (0.3 + 0.7 * rise) * (0.3 + 0.7 * fall)
        formants[first:] = np.array(VOWELS[str(rng.choice(list(VOWELS)))]) * tract
        if rng.random() < 0.4:  # a consonant
            before = max(0, first - int(rng.uniform(0.02, 0.06) / CONTROL_S))
            noise_level[before : first + 1] = rng.uniform(0.1, 0.5)
    formants[: max(1, int((phrase[0].onset_s - start_s) / CONTROL_S))] = formants[-1]
    level, noise_level = _smooth(level, 4), _smooth(noise_level, 2)
    formants = np.stack([_smooth(f, 10) for f in formants.T], axis=1)

    samples = int((end_s - start_s) * RATE_HZ)
    at = np.arange(samples) / RATE_HZ / CONTROL_S
    grid = np.arange(points)
    drift = _smooth(rng.standard_normal(points), 40) * 0.15
    frequency = 440.0 * 2.0 ** ((np.interp(at, grid, pitch + drift) - 69.0) / 12.0)
    phase = 2.0 * np.pi * np.cumsum(frequency) / RATE_HZ
    tilt = rng.uniform(0.8, 1.5)
    control_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)  # [K]
    tone = np.zeros(samples)
    for k in range(1, HARMONICS + 1):
        amplitude = _response(k * control_hz, formants) * k**-tilt * (k * control_hz < HIGHEST_HZ) * level
        if amplitude.max() > 1e-4:
            tone += np.interp(at, grid, amplitude) * np.sin(k * phase + 0.4 * k * k)
    hiss = rng.standard_normal(samples)
    breath = 0.02 * rng.uniform(0.2, 1.5) * np.interp(at, grid, level) * lfilter([1.0], [1.0, -0.5], hiss)
    consonants = 0.15 * np.interp(at, grid, noise_level) * lfilter([1.0, -0.9], [1.0], hiss)
    return np.asarray(tone + breath + consonants)


def _response(frequency_hz: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Amplitude [K] of resonances [K, 4] at frequencies [K], with a floor between them."""
    off = (frequency_hz[:, None] - formants) / BANDWIDTHS_HZ
    return np.asarray((GAINS / np.sqrt(1.0 + off**2)).sum(axis=1) + 0.03)


def _smooth(curve: np.ndarray, width: int) -> np.ndarray:
    kernel = np.hanning(2 * width + 1)
    padded = np.pad(curve, width, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
