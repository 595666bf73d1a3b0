"""Takes: what was played, dry and wet side by side, written while it is played."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rtserver.errors import UserError

LARGEST_READ = 1 << 16  # frames


class Recorder:
    """Files of one take: dry.wav as the microphone gave it, wet.wav as it went out, take.json with the latency between.

    Both begin with the same driver's block, so frame n + latency_frames of wet answers frame n of dry.
    """

    def __init__(self, folder: str, rate_hz: int, dry_channels: int, latency_frames: int) -> None:
        import soundfile

        self._dry_channels = dry_channels
        self._latency_frames = latency_frames
        self._rate_hz = rate_hz
        self.frames = 0
        self.folder = _fresh(Path(folder).expanduser())
        self._soundfile = soundfile
        self._files: list[Any] = []
        self._error: str | None = None

    def drain(self, path: Any) -> None:
        """Write what a LivePath has ready. UserError once if it can't be written."""
        while len(frames := path.take(LARGEST_READ)):
            if not self._files:
                self._begin(frames.shape[1] - self._dry_channels)
            try:
                self._files[0].write(frames[:, : self._dry_channels])
                self._files[1].write(frames[:, self._dry_channels :])
            except (OSError, RuntimeError) as error:
                raise UserError(f"the take in {self.folder} broke off: {error}") from None
            self.frames += len(frames)

    def _begin(self, wet_channels: int) -> None:
        for name, channels in (("dry.wav", self._dry_channels), ("wet.wav", wet_channels)):
            self._files.append(
                self._soundfile.SoundFile(
                    self.folder / name, "w", self._rate_hz, channels, format="WAV", subtype="FLOAT"
                )
            )

    def close(self) -> None:
        for file in self._files:
            file.close()
        told = {"rate_hz": self._rate_hz, "frames": self.frames, "latency_frames": self._latency_frames}
        (self.folder / "take.json").write_text(json.dumps(told, indent=2), encoding="utf-8")


def _fresh(parent: Path) -> Path:
    """A new folder named after the time, in `parent`."""
    name = time.strftime("take-%Y%m%d-%H%M%S")
    for number in range(100):
        place = parent / (name if number == 0 else f"{name}-{number}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"can't record into {parent}: {error.strerror}; give another folder") from None
        return place
    raise UserError(f"can't find a free name in {parent}")
