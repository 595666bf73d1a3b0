"""Sampled instruments through fluidsynth: which soundfonts there are, and notes by program to sound.

Rendered at 44.1 kHz and resampled, because samples alias and lack air when they are played at 16 kHz.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import soundfile
import soxr

from training.corpus.acoustics import RATE_HZ
from training.corpus.midi import DRUM_CHANNEL, Note

RENDER_RATE_HZ = 44100
FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"), Path("/usr/share/soundfonts"))
DEFAULT = "FluidR3_GM.sf2"
TICKS_PER_SECOND = 960
CHANNELS = [c for c in range(16) if c != DRUM_CHANNEL]


def find(names: Sequence[str] = (DEFAULT,)) -> list[Path]:
    """The soundfonts that are there, of those named (`A|B`: the first of the two that is there).

    RTSERVER_SOUNDFONT, one or several paths separated by colons, stands in for all of them.
    Raises RuntimeError, saying what to install, if fluidsynth is missing or none of the soundfonts is there.
    """
    if override := os.environ.get("RTSERVER_SOUNDFONT"):
        found = [Path(p) for p in override.split(os.pathsep) if p and Path(p).exists()]
    else:
        found = [p for name in names if (p := _first(name)) is not None]
    if shutil.which("fluidsynth") is None or not found:
        raise RuntimeError(
            f"fluidsynth or its soundfont ({os.environ.get('RTSERVER_SOUNDFONT') or ', '.join(names)}) is missing:"
            " `apt-get install fluidsynth fluid-soundfont-gm`, or name a soundfont in RTSERVER_SOUNDFONT"
        )
    return found


def _first(name: str) -> Path | None:
    candidates = [Path(one) if os.sep in one else folder / one for one in name.split("|") for folder in FOLDERS]
    return next((p for p in candidates if p.exists()), None)


def play(by_program: dict[int, list[Note]], seconds: float, rng: random.Random, soundfont: Path) -> np.ndarray:
    """float64 [seconds * 16000] at whatever level; each program up to 10 cents out of tune.

    Raises RuntimeError with fluidsynth's own words if it fails.
    """
    tracks = []
    for channel, (program, notes) in zip(CHANNELS, sorted(by_program.items()), strict=False):
        track = mido.MidiTrack()
        track.append(mido.MetaMessage("set_tempo", tempo=1_000_000, time=0))
        track.append(mido.Message("program_change", channel=channel, program=program, time=0))
        # A constant detuning of up to 10 cents (bend range 2 semitones: 8192 steps).
        bend = round(rng.uniform(-0.1, 0.1) / 2 * 8191)
        track.append(mido.Message("pitchwheel", channel=channel, pitch=bend, time=0))
        _append_notes(track, channel, notes)
        tracks.append(track)
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder, "reel.mid"), Path(folder, "reel.wav")
        mido.MidiFile(tracks=tracks, type=1, ticks_per_beat=TICKS_PER_SECOND).save(midi)
        command = ["fluidsynth", "-ni", "-g", "0.4", "-C", "0", "-R", "1" if rng.random() < 0.5 else "0"]
        command += ["-o", "synth.cpu-cores=1", "-o", "synth.dynamic-sample-loading=1"]
        # float: a full orchestra would clip 16 bits
        command += ["-r", str(RENDER_RATE_HZ), "-T", "wav", "-O", "float", "-F", str(wav)]
        done = subprocess.run([*command, str(soundfont), str(midi)], check=False, capture_output=True)
        if done.returncode != 0 or not wav.exists():
            raise RuntimeError(f"fluidsynth failed on {soundfont}: {done.stderr.decode(errors='replace').strip()}")
        stereo, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(stereo.mean(axis=1), RENDER_RATE_HZ, RATE_HZ)[: int(seconds * RATE_HZ)])


def _append_notes(track: mido.MidiTrack, channel: int, notes: list[Note]) -> None:
    events = [(n.onset_s, 1, n) for n in notes] + [(n.end_s, 0, n) for n in notes]
    now = 0
    # A pitch that two parts hold in unison is let go when the last of them ends.
    held: dict[int, int] = {}
    for at, kind, note in sorted(events, key=lambda e: (e[0], e[1])):
        held[note.pitch] = held.get(note.pitch, 0) + (1 if kind else -1)
        if not kind and held[note.pitch] > 0:
            continue
        tick = round(at * TICKS_PER_SECOND)
        velocity = note.velocity if kind else 0
        message = mido.Message("note_on", channel=channel, note=note.pitch, velocity=velocity, time=max(0, tick - now))
        track.append(message)
        now = max(now, tick)
    track.append(mido.MetaMessage("end_of_track", time=TICKS_PER_SECOND))
