"""What the demo plays: the project's own whistler, or a recording of the listener's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from rtserver import whistle
from rtserver.errors import UserError

LONGEST_S = 60.0
SILENT = 1e-4  # -80 dB


def melody(rate_hz: int) -> npt.NDArray[np.float32]:
    """Beethoven's Ode to Joy, whistled, float32 [N]."""
    return whistle.synthesise(whistle.tune("ode-to-joy"), rate_hz)


def recording(path: Path, rate_hz: int) -> npt.NDArray[np.float32]:
    """The first minute of a sound file of any rate and channel count, float32 mono [N] at `rate_hz`.

    UserError if there is nothing to play: no such file, no sound file, empty, silent or not finite.
    """
    import soundfile
    import soxr

    if not path.is_file():
        raise UserError(f"CLIP {path} does not exist; give the path of a WAV, FLAC, OGG or MP3 file")
    try:
        with soundfile.SoundFile(path) as file:
            frames = file.read(round(LONGEST_S * file.samplerate), dtype="float32", always_2d=True)  # [N, C]
            found_rate_hz = file.samplerate
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise UserError(f"CLIP {path} can't be read as sound ({error}); convert it to WAV") from None
    if not len(frames) or not np.isfinite(frames).all():
        raise UserError(f"CLIP {path} holds {'no frames' if not len(frames) else 'values that are not finite'}")
    if np.abs(frames).max() < SILENT:
        raise UserError(f"CLIP {path} is silent; give one with sound in its first {LONGEST_S:.0f} s")
    mono = soxr.resample(frames.mean(axis=1), found_rate_hz, rate_hz)
    clip: npt.NDArray[np.float32] = np.clip(mono, -1.0, 1.0).astype(np.float32)
    return clip
