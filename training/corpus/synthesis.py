"""Notes to audio at 16 kHz: sampled instruments, the whistle and voice synthesisers, or additive tones.

Every renderer gives float32 [samples], sample-aligned with the notes' onsets, so that the same reel in two timbres
is a matched pair.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from rtserver import whistle
from training.corpus import ensembles, singing, soundfonts
from training.corpus.acoustics import RATE_HZ, vary
from training.corpus.midi import Note
from training.corpus.performance import skyline

MONOPHONIC = ("whistle", "sung")  # these play the highest voice of a reel only
KINDS = "program:N, ensemble:NAME, whistle, sung or additive"


def is_sampled(instrument: str) -> bool:
    """Whether fluidsynth plays it."""
    return instrument.startswith(("program:", "ensemble:"))


def render(
    instrument: str,
    notes: list[Note],
    seconds: float,
    seed: int,
    soundfont: Path | None = None,
    varied: bool = False,
) -> np.ndarray:
    """Render `notes` with `program:N` (General MIDI, 0-based), `ensemble:NAME` (see ensembles.py), `whistle`, `sung` or
    `additive`; float32 [seconds * 16000].

    soundfont: for sampled instruments; the default one otherwise. varied: with random equalisation and reverberation.
    Levels are evened out per reel: the 99.9th percentile of the absolute value is 0.6.
    Raises ValueError for another instrument name, RuntimeError if fluidsynth or its soundfont is missing.
    """
    kind, _, argument = instrument.partition(":")
    if kind == "program":
        audio = _sampled({int(argument): notes}, seconds, seed, soundfont)
    elif kind == "ensemble":
        players = ensembles.assign(argument, notes, np.random.default_rng([seed, 3]))
        audio = _sampled(players, seconds, seed, soundfont)
    elif kind == "whistle":
        melody = [whistle.Note(n.onset_s, n.end_s - n.onset_s, n.pitch) for n in skyline(notes)]
        audio = whistle.synthesise(melody, RATE_HZ, seed)
    elif kind == "sung":
        audio = singing.synthesise(skyline(notes), seconds, seed)
    elif kind == "additive":
        audio = _additive(notes, seconds, seed)
    else:
        raise ValueError(f"instrument {instrument!r}: expected {KINDS}")
    samples = int(seconds * RATE_HZ)
    audio = np.pad(audio[:samples], (0, max(0, samples - len(audio))))
    if varied:
        audio = vary(audio, np.random.default_rng([seed, 4]))
    level = float(np.quantile(np.abs(audio[::7]), 0.999))
    return np.clip(audio * (0.6 / max(level, 1e-4)), -1.0, 1.0).astype(np.float32)


def _sampled(players: dict[int, list[Note]], seconds: float, seed: int, soundfont: Path | None) -> np.ndarray:
    return soundfonts.play(players, seconds, random.Random(seed), soundfont or soundfonts.find()[0])


def _additive(notes: list[Note], seconds: float, seed: int) -> np.ndarray:
    """Tones with a random harmonic spectrum, attack, vibrato and breath for every phrase: many timbres, one pitch."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(int(seconds * RATE_HZ) + RATE_HZ, dtype=np.float64)
    tilt, odd, attack, vibrato, breath = 1.0, 1.0, 0.02, 0.0, 0.0
    for i, note in enumerate(notes):
        if i % 8 == 0:
            tilt = rng.uniform(0.4, 3.0)
            odd = rng.choice([1.0, 0.15])  # strength of the even harmonics
            attack = rng.uniform(0.005, 0.08)
            vibrato = rng.uniform(0.0, 0.35)
            breath = rng.uniform(0.0, 0.05)
        length = note.end_s - note.onset_s
        t = np.arange(int((length + 0.05) * RATE_HZ)) / RATE_HZ
        wobble = (
            vibrato * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * t + rng.uniform(0, 6)) * np.clip(t / 0.3 - 0.5, 0, 1)
        )
        frequency = 440.0 * 2.0 ** ((note.pitch - 69 + wobble + rng.normal(0, 0.05)) / 12)
        phase = 2 * np.pi * np.cumsum(frequency) / RATE_HZ
        harmonics = np.arange(1, min(24, int(7000 / frequency.max())) + 1)
        weights = harmonics**-tilt * np.where(harmonics % 2 == 0, odd, 1.0) * rng.uniform(0.5, 1.5, len(harmonics))
        tone = (weights[:, None] * np.sin(harmonics[:, None] * phase + rng.uniform(0, 6, (len(harmonics), 1)))).sum(0)
        tone /= np.abs(tone).max() + 1e-9
        envelope = np.minimum(t / attack, 1.0) * np.clip((length + 0.05 - t) / 0.05, 0, 1)
        tone = (tone + breath * rng.standard_normal(len(t))) * envelope * (note.velocity / 127) ** 1.5
        start = int(note.onset_s * RATE_HZ)
        audio[start : start + len(t)] += tone[: len(audio) - start]
    return audio
