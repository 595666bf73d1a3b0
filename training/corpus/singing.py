"""Singers in numbers: harmonics of a gliding, unsteady pitch under the formants of vowels, with consonants and breath.

Not voices that could be taken for human ones, but they do what voices do and instruments don't: pitches scooped from
below and slurred, vibrato that waits, spectra that change with the vowel and not with the pitch, within a note too;
hums, hisses and gaps where consonants are; air between phrases, and a microphone's noise under everything. Curves are
drawn every 5 ms (K points). Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

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
HUM = (250.0, 1100.0, 2200.0, 2900.0)  # through the nose
BANDWIDTHS_HZ = np.array([90.0, 110.0, 160.0, 200.0])
GAINS = np.array([1.0, 0.6, 0.35, 0.4])
HARMONICS = 60
HIGHEST_HZ = 7000.0
LONGEST_CONSONANT_S = 0.065


@dataclass(frozen=True)
class Singer:
    """tract: what formants are multiplied by; tilt: exponent by which harmonics fall; gains [4]: of the formants;
    vibrato and unsteadiness in semitones; scoop: how often a note is reached from below;
    breath: amplitude of its air; legato: how often a slur glides."""

    tract: float
    tilt: float
    gains: np.ndarray
    vibrato_hz: float
    vibrato: float
    unsteadiness: float
    scoop: float
    breath: float
    legato: float


def draw_singer(pitch: float, rng: np.random.Generator) -> Singer:
    """Whoever might sing a phrase about this MIDI pitch: a man below 54, a woman above 66, either between; above 76
    a child as well. Women's formants lie a sixth higher, children's a quarter."""
    if rng.random() < (66.0 - pitch) / 12.0:
        tract = rng.uniform(0.92, 1.08)
    else:
        tract = rng.uniform(1.08, 1.22 if pitch < 76.0 else 1.35)
    return Singer(
        tract=tract,
        tilt=rng.uniform(0.7, 2.0),
        gains=GAINS * 10.0 ** (rng.uniform(-6.0, 6.0, 4) / 20.0),
        vibrato_hz=rng.uniform(4.5, 6.8),
        vibrato=max(0.0, rng.uniform(-0.3, 0.8)),
        unsteadiness=rng.uniform(0.02, 0.12),
        scoop=rng.uniform(0.0, 0.8),
        breath=0.02 * 10.0 ** rng.uniform(-1.0, 0.7),
        legato=rng.uniform(0.1, 0.8),
    )


def synthesise(line: list[Note], seconds: float, seed: int) -> np.ndarray:
    """Sing a monophonic line in order of its onsets; float64 [seconds * 16000], each phrase by a singer of its own."""
    rng = np.random.default_rng([seed, 5])
    out = np.zeros(int(seconds * RATE_HZ))
    before_s = 0.0
    for phrase in _phrases(line):
        start = int(max(0.0, phrase[0].onset_s - 0.1) * RATE_HZ)
        sung = _sing(phrase, start / RATE_HZ, rng)
        out[start : start + len(sung)] += sung[: len(out) - start]
        _breathe_in(out, before_s, phrase[0].onset_s, rng)
        before_s = phrase[-1].end_s
    loud = float(np.quantile(np.abs(out[::7]), 0.999)) if len(out) else 0.0
    hiss = rng.standard_normal(len(out))
    room = lfilter([1.0 - 0.8], [1.0, -0.8], hiss) + 0.1 * hiss
    return out + (loud * 10.0 ** (rng.uniform(-70.0, -36.0) / 20.0) + 1e-4) * room


def _phrases(line: list[Note]) -> list[list[Note]]:
    """Runs of notes without a rest of a quarter second, twelve at most."""
    out: list[list[Note]] = []
    for note in line:
        if not out or note.onset_s - out[-1][-1].end_s > 0.25 or len(out[-1]) == 12:
            out.append([])
        out[-1].append(note)
    return out


def _breathe_in(out: np.ndarray, from_s: float, to_s: float, rng: np.random.Generator) -> None:
    """Add air to a rest that has room for it, ending a little before the phrase that begins at `to_s`."""
    length_s = min(to_s - from_s - 0.35, rng.uniform(0.15, 0.35))
    if length_s > 0.1 and rng.random() < 0.6:
        first, samples = int((to_s - 0.12 - length_s) * RATE_HZ), int(length_s * RATE_HZ)
        air = lfilter([1.0, -0.7], [1.0, -0.4], rng.standard_normal(samples)) * np.hanning(samples)
        out[first : first + samples] += 0.01 * rng.uniform(0.2, 2.0) * air


def _sing(phrase: list[Note], start_s: float, rng: np.random.Generator) -> np.ndarray:
    """One phrase [N], beginning at `start_s`."""
    singer = draw_singer(float(np.median([n.pitch for n in phrase])), rng)
    end_s = phrase[-1].end_s + 0.15
    time = np.arange(int((end_s - start_s) / CONTROL_S) + 2) * CONTROL_S + start_s
    pitch = _pitch(phrase, time, singer, rng)
    level, noise, formants = _syllables(phrase, time, singer, rng)

    samples = int((end_s - start_s) * RATE_HZ)
    at, grid = np.arange(samples) / RATE_HZ / CONTROL_S, np.arange(len(time))
    control_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)  # [K]
    phase = 2.0 * np.pi * np.cumsum(np.interp(at, grid, control_hz)) / RATE_HZ
    # Where the pitch is above the first formant, a singer opens the mouth until they meet.
    formants[:, 0] = np.maximum(formants[:, 0], control_hz)
    tone = np.zeros(samples)
    for k in range(1, HARMONICS + 1):
        hz = k * control_hz
        if hz.min() > HIGHEST_HZ:
            break
        amplitude = _response(hz, formants, singer.gains) * k**-singer.tilt * (hz < HIGHEST_HZ) * level
        if amplitude.max() > 1e-4:
            tone += np.interp(at, grid, amplitude) * np.sin(k * phase + 0.4 * k * k)
    hiss = rng.standard_normal(samples)
    air = np.interp(at, grid, level) * lfilter([1.0], [1.0, -0.5], hiss)
    consonants = np.interp(at, grid, noise) * lfilter([1.0, -rng.uniform(0.5, 0.95)], [1.0], hiss)
    return np.asarray(tone + singer.breath * air + 0.15 * consonants)


def _pitch(phrase: list[Note], time: np.ndarray, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """MIDI pitch [K]: glides between notes, scoops into them, vibrato that waits, and what no singer can help."""
    pitch = np.full(len(time), float(phrase[0].pitch))
    for i, note in enumerate(phrase):
        first = _point(note.onset_s, time)
        since = time[first:] - note.onset_s
        sung = note.pitch + rng.normal(0.0, 0.12)
        origin, glide_s = sung - rng.uniform(0.0, 0.5), rng.uniform(0.02, 0.08)
        slurred = i > 0 and note.onset_s - phrase[i - 1].end_s < 0.08
        if slurred and rng.random() < singer.legato:
            origin, glide_s = float(phrase[i - 1].pitch), rng.uniform(0.04, 0.12)
        elif rng.random() < singer.scoop:
            origin, glide_s = sung - rng.uniform(0.5, 2.5), rng.uniform(0.05, 0.16)
        glide = np.clip(since / min(glide_s, 0.5 * (note.end_s - note.onset_s)), 0.0, 1.0)
        pitch[first:] = origin + (sung - origin) * (0.5 - 0.5 * np.cos(np.pi * glide))
        depth = np.clip((since - rng.uniform(0.15, 0.4)) / 0.3, 0.0, 1.0) * singer.vibrato
        pitch[first:] += depth * np.sin(2 * np.pi * singer.vibrato_hz * since)
    drift = _smooth(rng.standard_normal(len(time)), 40) * 0.6 + _smooth(rng.standard_normal(len(time)), 3)
    return pitch + singer.unsteadiness * drift


def _syllables(
    phrase: list[Note], time: np.ndarray, singer: Singer, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels of voice and of consonants' noise [K], and formants [K, 4]."""
    level, noise, formants = np.zeros(len(time)), np.zeros(len(time)), np.zeros((len(time), 4))
    vowel = _vowel(rng)
    for i, note in enumerate(phrase):
        first, last = _point(note.onset_s, time), _point(note.end_s, time) + 1
        since = time[first:last] - note.onset_s
        rise = np.clip(since / rng.uniform(0.015, 0.06), 0.0, 1.0)
        fall = np.clip((note.end_s - time[first:last]) / rng.uniform(0.03, 0.1), 0.0, 1.0)
        swell = 1.0 + rng.uniform(-0.4, 0.2) * np.clip(since / (note.end_s - note.onset_s), 0.0, 1.0)
        loudness = (note.velocity / 100.0) ** 1.5
        level[first:last] = loudness * swell * (0.3 + 0.7 * rise) * (0.3 + 0.7 * fall)
        if i and rng.random() < 0.35:  # sung on, on the same vowel
            formants[first:] = vowel * singer.tract
        else:
            vowel = _vowel(rng)
            formants[first:] = vowel * singer.tract
            before = max(0, first - int(rng.uniform(0.02, LONGEST_CONSONANT_S) / CONTROL_S))
            kind = rng.choice(["none", "stop", "hiss", "hum"], p=[0.25, 0.25, 0.25, 0.25])
            if kind in ("stop", "hiss"):
                level[before:first] = 0.0
                noise[before if kind == "hiss" else max(before, first - 3) : first + 1] = rng.uniform(0.1, 0.7)
            elif kind == "hum":
                level[before:first] = loudness * rng.uniform(0.1, 0.4)
                formants[before:first] = np.array(HUM) * singer.tract
        if note.end_s - note.onset_s > 0.3 and rng.random() < 0.3:
            vowel = _vowel(rng)
            formants[first + int(rng.uniform(0.3, 0.8) * (last - first)) :] = vowel * singer.tract
    begin = np.flatnonzero(formants[:, 0])[0]
    formants[:begin] = formants[begin]
    shimmer = 1.0 + 2.0 * singer.unsteadiness * _smooth(rng.standard_normal(len(time)), 3)
    smooth = np.stack([_smooth(f, int(rng.integers(4, 12))) for f in formants.T], axis=1)
    return _smooth(level, 3) * np.clip(shimmer, 0.3, 1.7), _smooth(noise, 2), smooth


def _vowel(rng: np.random.Generator) -> np.ndarray:
    """Formants [4] between those of two vowels, the first of them the nearer one."""
    one, other = rng.choice(list(VOWELS), 2, replace=False)
    share = 0.5 * rng.random() ** 2
    return (1.0 - share) * np.array(VOWELS[str(one)]) + share * np.array(VOWELS[str(other)])


def _point(at_s: float, time: np.ndarray) -> int:
    return min(max(0, int((at_s - time[0]) / CONTROL_S)), len(time) - 1)


def _response(frequency_hz: np.ndarray, formants: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Amplitude [K] of resonances [K, 4] at frequencies [K], with a floor between them."""
    off = (frequency_hz[:, None] - formants) / BANDWIDTHS_HZ
    return np.asarray((gains / np.sqrt(1.0 + off**2)).sum(axis=1) + 0.03)


def _smooth(curve: np.ndarray, width: int) -> np.ndarray:
    kernel = np.hanning(2 * width + 1)
    padded = np.pad(curve, width, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
