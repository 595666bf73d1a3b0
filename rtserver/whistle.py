"""A whistler in numbers: the input of the demo, of benchmarks and of training's augmented domains.

A whistle is nearly a sine. What makes it one is what a player's breath does around it: the glide into a note, vibrato
that waits before it starts, air in a narrow band about the pitch, and dynamics that follow the phrase.
Curves are drawn on a grid of 1 kHz (K points) and interpolated to the sample rate (N samples), so the same seed gives
the same performance at every rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]

CONTROL_RATE_HZ = 1000
# Amplitude of the sine at full dynamics: leaves 6 dB of headroom for breath, tremolo and the player's accents.
FULL_AMPLITUDE = 0.4
# A room is never digitally silent: hiss at -74 dB of the sine.
ROOM_TONE = 2e-4
# Notes closer than this are slurred: one breath, a glide between the pitches.
LEGATO_GAP_S = 0.04
BREATH_GAP_S = 0.22


@dataclass(frozen=True)
class Note:
    """A note of a monophonic line; `pitch_midi` may be fractional (69 is 440 Hz)."""

    onset_s: float
    duration_s: float
    pitch_midi: float

    @property
    def end_s(self) -> float:
        return self.onset_s + self.duration_s

    @property
    def frequency_hz(self) -> float:
        return float(440.0 * 2.0 ** ((self.pitch_midi - 69.0) / 12.0))


# (semitones above the tonic, beats); None breathes at the end of a phrase.
_Step = tuple[int, float] | None
_TUNES: dict[str, Sequence[_Step]] = {
    # Beethoven, Symphony No. 9 (1824), theme of the last movement.
    "ode-to-joy": (
        *((4, 1.0), (4, 1.0), (5, 1.0), (7, 1.0), (7, 1.0), (5, 1.0), (4, 1.0), (2, 1.0)),
        *((0, 1.0), (0, 1.0), (2, 1.0), (4, 1.0), (4, 1.5), (2, 0.5), (2, 2.0), None),
        *((4, 1.0), (4, 1.0), (5, 1.0), (7, 1.0), (7, 1.0), (5, 1.0), (4, 1.0), (2, 1.0)),
        *((0, 1.0), (0, 1.0), (2, 1.0), (4, 1.0), (2, 1.5), (0, 0.5), (0, 2.0), None),
    ),
    # French melody of 1761, the theme of Mozart's K. 265.
    "ah-vous-dirai-je": (
        *((0, 1.0), (0, 1.0), (7, 1.0), (7, 1.0), (9, 1.0), (9, 1.0), (7, 2.0), None),
        *((5, 1.0), (5, 1.0), (4, 1.0), (4, 1.0), (2, 1.0), (2, 1.0), (0, 2.0), None),
    ),
}
TUNES = tuple(_TUNES)


def tune(name: str = "ode-to-joy", tempo_bpm: float = 112.0, tonic_midi: float = 72.0) -> list[Note]:
    """The notes of a built-in public-domain tune (one of `TUNES`), starting half a second in."""
    if name not in _TUNES:
        raise ValueError(f"unknown tune {name!r}: expected one of {', '.join(TUNES)}")
    beat_s = 60.0 / tempo_bpm
    notes: list[Note] = []
    onset_s = 0.5
    for step in _TUNES[name]:
        if step is None:
            last = notes[-1]
            notes[-1] = Note(last.onset_s, last.duration_s - max(0.35, 0.6 * beat_s), last.pitch_midi)
            continue
        semitones, beats = step
        # A repeated pitch needs a gap to be heard as two notes; a new one is slurred.
        if notes and notes[-1].pitch_midi == tonic_midi + semitones and notes[-1].end_s > onset_s - 0.06:
            notes[-1] = Note(notes[-1].onset_s, onset_s - 0.07 - notes[-1].onset_s, notes[-1].pitch_midi)
        notes.append(Note(onset_s, beats * beat_s, tonic_midi + semitones))
        onset_s += beats * beat_s
    return notes


def synthesise(
    notes: Iterable[Note], rate_hz: int = 48000, seed: int = 0, *, tail_s: float = 0.5
) -> npt.NDArray[np.float32]:
    """Whistle a monophonic line.

    notes: in any order; one that runs into the next onset is cut there. Notes that touch are slurred.
    rate_hz: any; partials above 45 % of it are left out.
    Returns float32 [N], |x| < 1, lasting until `tail_s` after the last note. The same arguments give the same bytes.
    Raises ValueError for an onset below zero or a note that isn't finite.
    """
    line = _monophonic(notes)
    end_s = (line[-1].end_s if line else 0.0) + tail_s
    samples = round(end_s * rate_hz)
    if not line or samples == 0:
        return np.zeros(samples, np.float32)
    player = np.random.default_rng([seed, 1])
    air = np.random.default_rng([seed, 2])
    points = int(np.ceil(end_s * CONTROL_RATE_HZ)) + 1
    pitch, level, inhale = _perform(line, points, player)

    at = np.arange(samples) * (CONTROL_RATE_HZ / rate_hz)
    grid = np.arange(points)
    frequency_hz = 440.0 * 2.0 ** ((np.interp(at, grid, pitch) - 69.0) / 12.0)  # [N]
    amplitude = np.interp(at, grid, level)  # [N]
    phase = np.cumsum(frequency_hz) * (2.0 * np.pi / rate_hz)
    sine, cosine = np.sin(phase), np.cos(phase)

    # Lips are a soft, slightly asymmetric valve: the louder, the more second and third harmonic (sin 2x, sin 3x).
    second_db, third_db = player.uniform(-36.0, -26.0), player.uniform(-42.0, -32.0)
    below_nyquist = 0.45 * rate_hz
    tone = sine.copy()
    tone += _gain(second_db) * amplitude * np.where(2 * frequency_hz < below_nyquist, 2.0 * sine * cosine, 0.0)
    tone += (
        _gain(third_db) * amplitude * np.where(3 * frequency_hz < below_nyquist, sine * (3.0 - 4.0 * sine * sine), 0.0)
    )

    # Breath through the resonance that makes the pitch: complex noise, some 300 Hz wide, carried up to the pitch.
    knots = grid[::3]
    carrier = air.standard_normal((2, len(knots)))
    breath_db = player.uniform(-32.0, -24.0)
    breath = np.interp(at, knots, carrier[0]) * cosine + np.interp(at, knots, carrier[1]) * sine
    # And the hiss of air past the teeth, at every frequency, heard alone when the player breathes in.
    hiss = air.standard_normal(samples)
    hiss[1:] -= 0.6 * hiss[:-1]
    hiss_gain = _gain(player.uniform(-56.0, -48.0)) * np.sqrt(rate_hz / 48000.0)

    out = amplitude * (tone + _gain(breath_db) * breath)
    out += hiss_gain * hiss * (np.sqrt(amplitude) + 4.0 * np.interp(at, grid, inhale))
    out += ROOM_TONE * hiss
    out *= FULL_AMPLITUDE
    samples_f32: npt.NDArray[np.float32] = np.clip(out, -0.999, 0.999).astype(np.float32)
    return samples_f32


def _monophonic(notes: Iterable[Note]) -> list[Note]:
    line = sorted(notes, key=lambda note: note.onset_s)
    for note in line:
        if not np.isfinite([note.onset_s, note.duration_s, note.pitch_midi]).all() or note.onset_s < 0:
            raise ValueError(f"a note must be finite and start at or after 0 s, found {note}")
    followers = [*line[1:], *([None] if line else [])]
    cut = [
        note
        if after is None or note.end_s <= after.onset_s
        else Note(note.onset_s, after.onset_s - note.onset_s, note.pitch_midi)
        for note, after in zip(line, followers, strict=True)
    ]
    return [note for note in cut if note.duration_s > 0.0]


def _perform(line: Sequence[Note], points: int, player: np.random.Generator) -> tuple[Curve, Curve, Curve]:
    """Pitch (MIDI), level (0..1) and breathing in (0..1) of a performance, each [K]."""
    pitch = np.empty(points)
    level = np.zeros(points)
    inhale = np.zeros(points)
    time_s = np.arange(points) / CONTROL_RATE_HZ
    # Intonation wanders a few cents over a second or so; so does the strength of the breath.
    drift = _wander(points, 0.7, player)
    strength = _wander(points, 1.5, player)
    vibrato_hz, vibrato_semitones = player.uniform(4.8, 6.2), player.uniform(0.12, 0.3)

    pitch[:] = line[0].pitch_midi
    for i, note in enumerate(line):
        before = line[i - 1] if i else None
        slurred = before is not None and note.onset_s - before.end_s < LEGATO_GAP_S
        slur_on = i + 1 < len(line) and line[i + 1].onset_s - note.end_s < LEGATO_GAP_S
        start, stop = _point(note.onset_s, points), _point(note.end_s, points)
        since_s = time_s[start:] - note.onset_s

        # Slurred: a glide from the last pitch. Fresh: a scoop from below.
        glide_s = min(player.uniform(0.035, 0.07), 0.4 * note.duration_s)
        origin = before.pitch_midi if slurred and before is not None else note.pitch_midi - player.uniform(0.1, 0.7)
        pitch[start:] = note.pitch_midi + (origin - note.pitch_midi) * (1.0 - _rise(since_s / glide_s))

        wait_s = player.uniform(0.22, 0.4)
        waver = vibrato_semitones * _rise((since_s - wait_s) / 0.3)
        cycle = np.sin(2.0 * np.pi * vibrato_hz * (since_s - wait_s))
        pitch[start:stop] += (waver * cycle)[: stop - start]

        loudness = player.uniform(0.75, 1.0)
        attack_s = min(player.uniform(0.02, 0.05), 0.3 * note.duration_s)
        release_s = min(player.uniform(0.05, 0.09), 0.4 * note.duration_s)
        until_s = note.end_s - time_s[start:stop]
        shape = np.ones(stop - start)
        if slurred:
            shape *= 0.72 + 0.28 * _rise(since_s[: stop - start] / 0.06)
        else:
            shape *= _rise(since_s[: stop - start] / attack_s)
        shape *= (0.72 + 0.28 * _rise(until_s / 0.06)) if slur_on else _rise(until_s / release_s)
        # Long notes swell and fall; vibrato shakes the level too.
        swell = 1.0 + 0.12 * np.sin(np.pi * np.clip(since_s[: stop - start] / note.duration_s, 0.0, 1.0))
        level[start:stop] = loudness * shape * swell * (1.0 + 0.25 * (waver * cycle)[: stop - start])

        gap_s = note.onset_s - (before.end_s if before is not None else 0.0)
        if gap_s > BREATH_GAP_S:
            breath_s = min(gap_s - 0.08, 0.35)
            first, last = _point(note.onset_s - 0.04 - breath_s, points), _point(note.onset_s - 0.04, points)
            inhale[first:last] = np.hanning(last - first + 2)[1:-1]

    level *= 10.0 ** (1.5 * strength / 20.0) / 1.3
    return pitch + 0.04 * drift, np.clip(level, 0.0, 1.0), inhale


def _point(time_s: float, points: int) -> int:
    return min(max(round(time_s * CONTROL_RATE_HZ), 0), points)


def _rise(x: Curve) -> Curve:
    """0 below 0, 1 above 1, half a cosine between."""
    risen: Curve = 0.5 - 0.5 * np.cos(np.pi * np.clip(x, 0.0, 1.0))
    return risen


def _wander(points: int, period_s: float, player: np.random.Generator) -> Curve:
    """A smooth random curve with values near +-1, [K]."""
    knots = int(points / CONTROL_RATE_HZ / period_s) + 3
    values = player.uniform(-1.0, 1.0, knots)
    position = np.arange(points) / (CONTROL_RATE_HZ * period_s)
    left = position.astype(int)
    mix = _rise(position - left)
    curve: Curve = values[left] * (1.0 - mix) + values[left + 1] * mix
    return curve


def _gain(db: float) -> float:
    return float(10.0 ** (db / 20.0))
