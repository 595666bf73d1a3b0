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


def fade_somewhere(audio: np.ndarray, rng: np.random.Generator, rate_hz: int = 16000) -> np.ndarray:
    """Make a stretch of 30 to 300 ms quieter by 6 to 40 dB, or silent; float32 [samples] in and out.

    For the past that a decoder is taught with: it then learns to start a note again from its latent alone. Without it
    a decoder that runs free follows its own past into silence.
    """
    length = min(len(audio), int(rng.uniform(0.03, 0.3) * rate_hz))
    start = int(rng.integers(len(audio) - length + 1))
    gain = 0.0 if rng.random() < 0.3 else 10.0 ** (rng.uniform(-40.0, -6.0) / 20.0)
    out = audio.copy()
    out[start : start + length] *= np.float32(gain)
    return out
