"""Pre-emphasis of what a decoder predicts, without torch: the twin of `models.emphasis` for calibration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def emphasise(audio: npt.NDArray[np.float32], a: float) -> npt.NDArray[np.float32]:
    """y[n] = x[n] - a x[n - 1] of audio [..., N], silence before it. With a = 0 the audio itself."""
    if a == 0.0:
        return audio
    y = audio.copy()
    y[..., 1:] -= np.float32(a) * audio[..., :-1]
    return y
