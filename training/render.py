"""Notes to audio at 16 kHz: a sampled instrument through fluidsynth, the whistle synthesiser, or an additive tone.

Every renderer gives float32 [samples], sample-aligned with the notes' onsets, so that the same reel in two timbres
is a matched pair.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import mido
import numpy as np
import soundfile
import soxr

from rtserver import whistle
from training.scores import Note

RATE_HZ = 16000
RENDER_RATE_HZ = 44100
SOUNDFONT = Path(os.environ.get("RTSERVER_SOUNDFONT", "/usr/share/sounds/sf2/FluidR3_GM.sf2"))
TICKS_PER_SECOND = 960


def render(instrument: str, notes: list[Note], seconds: float, seed: int) -> np.ndarray:
    """Render `notes` with `program:N` (General MIDI, 0-based), `whistle` or `additive`; float32 [seconds * 16000].

    Levels are evened out per reel: the 99.9th percentile of the absolute value is 0.6.
    Raises ValueError for another instrument name, RuntimeError if fluidsynth or its soundfont is missing.
    """
    kind, _, argument = instrument.partition(":")
    if kind == "program":
        audio = _soundfont(int(argument), notes, seconds, seed)
    elif kind == "whistle":
        melody = [whistle.Note(n.onset_s, n.end_s - n.onset_s, n.pitch) for n in notes]
        audio = whistle.synthesise(melody, RATE_HZ, seed)
    elif kind == "additive":
        audio = _additive(notes, seconds, seed)
    else:
        raise ValueError(f"instrument {instrument!r}: expected program:N, whistle or additive")
    samples = int(seconds * RATE_HZ)
    audio = np.pad(audio[:samples], (0, max(0, samples - len(audio))))
    level = float(np.quantile(np.abs(audio[::7]), 0.999))
    return np.clip(audio * (0.6 / max(level, 1e-4)), -1.0, 1.0).astype(np.float32)


def _soundfont(program: int, notes: list[Note], seconds: float, seed: int) -> np.ndarray:
    if shutil.which("fluidsynth") is None or not SOUNDFONT.exists():
        raise RuntimeError(
            f"fluidsynth or the soundfont {SOUNDFONT} is missing: `apt-get install fluidsynth fluid-soundfont-gm`,"
            " or name a soundfont in RTSERVER_SOUNDFONT"
        )
    rng = random.Random(seed)
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=1_000_000, time=0))
    track.append(mido.Message("program_change", program=program, time=0))
    # A constant detuning of up to 10 cents (bend range 2 semitones: 8192 steps).
    track.append(mido.Message("pitchwheel", pitch=round(rng.uniform(-0.1, 0.1) / 2 * 8191), time=0))
    events = [(n.onset_s, 1, n) for n in notes] + [(n.end_s, 0, n) for n in notes]
    now = 0
    for at, kind, note in sorted(events, key=lambda e: (e[0], e[1])):
        tick = round(at * TICKS_PER_SECOND)
        velocity = note.velocity if kind else 0
        track.append(mido.Message("note_on", note=note.pitch, velocity=velocity, time=max(0, tick - now)))
        now = max(now, tick)
    track.append(mido.MetaMessage("end_of_track", time=TICKS_PER_SECOND))
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder, "reel.mid"), Path(folder, "reel.wav")
        mido.MidiFile(tracks=[track], ticks_per_beat=TICKS_PER_SECOND).save(midi)
        command = ["fluidsynth", "-ni", "-g", "0.4", "-C", "0", "-R", "1" if rng.random() < 0.5 else "0"]
        command += ["-o", "synth.cpu-cores=1", "-r", str(RENDER_RATE_HZ), "-T", "wav", "-F", str(wav)]
        subprocess.run([*command, str(SOUNDFONT), str(midi)], check=True, capture_output=True)
        stereo, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    return soxr.resample(stereo.mean(axis=1), RENDER_RATE_HZ, RATE_HZ)[: int(seconds * RATE_HZ)]


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
