"""Notes of polyphonic audio, and how many of the true ones they are.

Transcription: the ONNX network of basic-pitch 0.4 (Spotify, Apache-2.0; Bittner et al. 2022), with that paper's
thresholds: an onset above 0.5, its note as long as the pitch stays above 0.3 with gaps of up to 11 frames, 11 frames at
least. Scores: mir_eval's definitions (Raffel et al. 2014): a greatest matching of notes whose onsets are within 50 ms
and whose pitches are within 50 cents; ends don't count. Shapes: N samples, F frames of 11.6 ms, 88 pitches from 21 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from rtserver.errors import UserError
from training.corpus.midi import Note
from training.evaluate.needs import BASIC_PITCH, basic_pitch_network

RATE_HZ, HOP_SAMPLES, WINDOW_SAMPLES = 22050, 256, 43844
OVERLAP_FRAMES = 30
LOWEST = 21
ONSET, SUSTAIN, GAP_FRAMES, SHORTEST_FRAMES = 0.5, 0.3, 11, 11
ONSET_TOLERANCE_S = 0.05
CHORD_S = 0.03  # onsets closer than this are one, where only onsets count


class Transcriber:
    """Audio to notes. UserError if basic-pitch's file or onnxruntime is missing."""

    def __init__(self) -> None:
        path = basic_pitch_network()
        if path is None:
            raise UserError(BASIC_PITCH)
        try:
            import onnxruntime
        except ImportError:
            raise UserError("onset and note F1 need onnxruntime: `pip install onnxruntime`") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def activations(self, audio: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
        """Of float32 [N]: chances of notes and of onsets, float32 [F, 88] each."""
        audio = soxr.resample(audio, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else audio
        step = WINDOW_SAMPLES - OVERLAP_FRAMES * HOP_SAMPLES
        lead = OVERLAP_FRAMES // 2 * HOP_SAMPLES
        count = max(1, -(-len(audio) // step))
        padded = np.zeros(lead + count * step + WINDOW_SAMPLES, np.float32)
        padded[lead : lead + len(audio)] = audio
        batch = np.stack([padded[i * step : i * step + WINDOW_SAMPLES] for i in range(count)])[:, :, None]
        # The file's names for its outputs: 1 are notes, 2 onsets, 0 contours.
        found = self._session.run(
            ["StatefulPartitionedCall:1", "StatefulPartitionedCall:2"], {"serving_default_input_2:0": batch}
        )
        # Windows don't follow each other by whole frames: each frame comes from where its time is in its window.
        at = np.arange(len(audio) // HOP_SAMPLES) * HOP_SAMPLES
        window = np.minimum(at // step, count - 1)
        frame = np.rint((at + lead - window * step) / HOP_SAMPLES).astype(int)
        return found[0][window, frame], found[1][window, frame]

    def transcribe(self, audio: np.ndarray, rate_hz: int) -> list[Note]:
        """The notes of float32 [N], in order of their onsets."""
        return notes_from(*self.activations(audio, rate_hz))


def notes_from(notes: np.ndarray, onsets: np.ndarray) -> list[Note]:
    """Chances [F, 88] to notes: each local peak of an onset begins one, and ends the one that sounds at its pitch."""
    out = []
    frame_s = HOP_SAMPLES / RATE_HZ
    padded = np.pad(onsets, ((1, 1), (0, 0)))
    peaks = (onsets >= ONSET) & (onsets >= padded[:-2]) & (onsets > padded[2:])
    for pitch in np.flatnonzero(peaks.any(axis=0)):
        starts = np.flatnonzero(peaks[:, pitch])
        for start, following in zip(starts, [*starts[1:], len(notes)], strict=True):
            sounding = np.flatnonzero(notes[start:following, pitch] >= SUSTAIN)
            gaps = np.flatnonzero(np.diff(sounding, prepend=0) > GAP_FRAMES)
            last = sounding[: gaps[0]] if len(gaps) else sounding
            length = int(last[-1]) + 1 if len(last) else 0
            if length >= SHORTEST_FRAMES:
                out.append(Note(start * frame_s, (start + length) * frame_s, int(pitch) + LOWEST, 80))
    return sorted(out, key=lambda n: (n.onset_s, n.pitch))


@dataclass(frozen=True)
class Score:
    """Of one segment; f1 is 0 if nothing matches, nan if there is nothing to find and nothing was found."""

    precision: float
    recall: float
    f1: float


def _score(matched: int, wanted: int, found: int) -> Score:
    if not wanted and not found:
        return Score(float("nan"), float("nan"), float("nan"))
    return Score(matched / max(found, 1), matched / max(wanted, 1), 2 * matched / (wanted + found))


def _matched(close: np.ndarray) -> int:
    """Size of the greatest matching of bool [wanted, found]."""
    return int((maximum_bipartite_matching(csr_matrix(close)) >= 0).sum()) if close.size else 0


def note_score(wanted: Sequence[Note], found: Sequence[Note], delay_s: float = 0.0) -> Score:
    """Onset within 50 ms of the true one and the same semitone. delay_s: by how much all that was found is late."""
    a = np.array([(n.onset_s, n.pitch) for n in wanted]).reshape(-1, 2)
    b = np.array([(n.onset_s - delay_s, n.pitch) for n in found]).reshape(-1, 2)
    near = np.abs(a[:, None, 0] - b[None, :, 0]) <= ONSET_TOLERANCE_S
    return _score(_matched(near & (a[:, None, 1] == b[None, :, 1])), len(a), len(b))


def onset_score(wanted: Sequence[Note], found: Sequence[Note], delay_s: float = 0.0) -> Score:
    """Onset within 50 ms, whatever the pitch; the notes of a chord have one onset."""
    a, b = _onsets(wanted, 0.0), _onsets(found, delay_s)
    near = np.abs(a[:, None] - b[None, :]) <= ONSET_TOLERANCE_S
    return _score(_matched(near), len(a), len(b))


def _onsets(notes: Sequence[Note], delay_s: float) -> np.ndarray:
    out: list[float] = []
    for at in sorted(n.onset_s - delay_s for n in notes):
        if not out or at - out[-1] > CHORD_S:
            out.append(at)
    return np.array(out)
