"""Pre-emphasis of what a decoder predicts, and its inverse (`ModelConfig.emphasis`).

Music has little energy in its highest octaves; the noise of sampling codes one by one has as much there as elsewhere. A
decoder that predicts y[n] = x[n] - a x[n - 1] makes its errors in y, and undoing the filter takes them down where they
would be heard (Valin and Skoglund, LPCNet, 2019, section 3.2).
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter
from torch import Tensor

HIGH_PASS = 0.996  # r: 10 Hz at 16 kHz


def emphasise(audio: Tensor, a: float) -> Tensor:
    """y[n] = x[n] - a x[n - 1] of audio [..., T], silence before it. With a = 0 the audio itself."""
    if a == 0.0:
        return audio
    y = audio.clone()
    y[..., 1:] -= a * audio[..., :-1]
    return y


def deemphasise(emphasised: np.ndarray, a: float) -> np.ndarray:
    """The audio x[n] = y[n] + a x[n - 1], less what is constant in it, float32 [..., T], silence before it.

    z[n] = x[n] - x[n - 1] + r z[n - 1] is the engine's high pass (csrc/stream/deemphasis.h); with a = 0 there is none.
    """
    if a == 0.0:
        return np.asarray(emphasised, np.float32)
    whole = lfilter([1.0], [1.0, -a], emphasised, axis=-1)
    return np.asarray(lfilter([1.0, -1.0], [1.0, -HIGH_PASS], whole, axis=-1), np.float32)
