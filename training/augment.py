"""What is done to the encoder's input in training (Mor et al. 2018, section 3.2)."""

from __future__ import annotations

import librosa
import numpy as np


def shift_pitch_somewhere(audio: np.ndarray, rng: np.random.Generator, rate_hz: int = 16000) -> np.ndarray:
    """Put a stretch of 0.25 to 0.5 s out of tune by up to half a semitone; float32 [samples] in and out.

    The decoder still has to produce the clean signal, so the encoder can't pass the waveform through.
    """
    length = min(len(audio), int(rng.uniform(0.25, 0.5) * rate_hz))
    start = int(rng.integers(len(audio) - length + 1))
    out = audio.copy()
    stretch = audio[start : start + length]
    out[start : start + length] = librosa.effects.pitch_shift(
        stretch, sr=rate_hz, n_steps=float(rng.uniform(-0.5, 0.5)), n_fft=1024, hop_length=256, res_type="soxr_lq"
    )
    return out
