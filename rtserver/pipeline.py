"""The path of audio without a clock: intake, encoder, renderer one after the other, for files and tests.

The same native stages and the same encoder as in the audio worker, fed the same way, so the output is the server's to
the bit. After the end of the input, silence is fed until every frame is translated, as by a client that plays on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from rtserver import _engine, networks
from rtserver import precision as precisions
from rtserver.errors import UserError
from rtserver.model_file import Model

RATES_HZ = (8000, 384000)
SILENCE_FRAMES = 256  # at a time, after the end


class HopEncoder(Protocol):
    """One stream of hops to latents; None while a lookahead encoder waits for what comes after."""

    def step(self, hop: np.ndarray) -> np.ndarray | None: ...


class _Echo:
    """The identity probe's encoder: its latent is the hop itself."""

    def step(self, hop: np.ndarray) -> np.ndarray:
        return hop


class Stream:
    """One signal on its way through; `push` what comes, then `finish`.

    Frames come out as soon as they can; all together they are as many as went in (times the ratio of the rates), the
    latency removed.
    """

    def __init__(
        self,
        intake: _engine.Intake,
        encoder: HopEncoder,
        renderer: _engine.Renderer,
        channels: int,
        ratio: tuple[int, int],
    ) -> None:
        self._intake, self._encoder, self._renderer = intake, encoder, renderer
        self._channels, self._ratio = channels, ratio
        self._frames_in = 0
        self._frames_out = 0
        self._silent_frames: int | None = 0  # at the start, not fed; None: something else came

    def push(self, frames: np.ndarray) -> np.ndarray:
        """Take float32 [n] or [n, channels]; give the wet frames [m] that are now ready, mono."""
        self._frames_in += len(frames)
        frames = _mono_or_stereo(frames, self._channels)
        wet = self._run(frames) if self._silent_frames is None else self._begin(self._silent_frames, frames)
        self._frames_out += len(wet)
        return wet

    def finish(self) -> np.ndarray:
        """End the signal; give the rest of its wet frames."""
        out, into = self._ratio
        missing = (self._frames_in * out + into // 2) // into - self._frames_out
        if self._silent_frames is not None:
            return np.zeros(missing, np.float32)
        silence = np.zeros((SILENCE_FRAMES, _intake_channels(self._channels)), np.float32)
        pieces: list[np.ndarray] = []
        while sum(map(len, pieces)) < missing:
            pieces.append(self._run(silence))
        return np.concatenate([*pieces, np.zeros(0, np.float32)])[: max(missing, 0)]

    def _begin(self, before: int, frames: np.ndarray) -> np.ndarray:
        """Begin with the first frame that isn't digital silence, as a client that bounces does; silence until then.

        Where the rate changes, up to the last frame that falls on one of the output is passed over.
        """
        loud = np.flatnonzero(frames.any(axis=1))
        silent = before + (int(loud[0]) if len(loud) else len(frames))
        out, into = (rate // math.gcd(*self._ratio) for rate in self._ratio)
        silence = np.zeros(silent // into * out - self._frames_out, np.float32)
        if not len(loud):
            self._silent_frames = silent
            return silence
        self._silent_frames = None
        fed = np.zeros((silent % into, frames.shape[1]), np.float32)
        return np.concatenate([silence, self._run(np.concatenate([fed, frames[loud[0] :]]))])

    def _run(self, frames: np.ndarray) -> np.ndarray:
        pieces: list[np.ndarray] = []
        self._intake.push(frames)
        while (hop := self._intake.pop_hop()) is not None:
            latent = self._encoder.step(hop)
            if latent is not None:
                pieces.append(self._renderer.push(latent))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


class Translator:
    """A model made ready once, weights packed, from which streams are opened."""

    def __init__(self, model: Model, device: str = "cpu", precision: str = "auto") -> None:
        if model.kind == "loopback":
            raise UserError("loopback tests the server's rings only and translates nothing; use identity16k or a pack")
        self.precision = precisions.resolve(precision, model)
        self.model = replace(model, calibration=precisions.calibration_for(model, self.precision))
        self._voices: dict[str, _engine.Decoder] = {}
        self._encoder: Any = None
        if model.kind == "model":
            self._encoder = networks.encoder(self.model, device, self.precision)

    def open(
        self,
        rate_hz: int,
        channels: int = 1,
        *,
        decoder: str | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        output_rate_hz: int | None = None,
    ) -> Stream:
        """A fresh stream. Rates are whole numbers of 8,000 to 384,000 Hz; the output's is the input's by default."""
        output_rate_hz = output_rate_hz or rate_hz
        for rate in (rate_hz, output_rate_hz):
            _check_rate(rate)
        hop = self.model.hop_samples
        intake = _engine.Intake(rate_hz, _intake_channels(channels), hop, self._encoding)
        encoder: HopEncoder = self._encoder.fork() if self._encoder else _Echo()
        renderer = _engine.Renderer(output_rate_hz, hop, self._voice(decoder), seed, temperature)
        return Stream(intake, encoder, renderer, channels, (output_rate_hz, rate_hz))

    def embed(self, frames: np.ndarray, rate_hz: int) -> np.ndarray:
        """Latents float32 [H, L] of a whole signal [n] or [n, channels]; silence fills the last hop.

        UserError for a probe, which has no encoder, or a rate that isn't supported.
        """
        if self._encoder is None:
            raise UserError(f"{self.model.name} has no encoder; use a pack")
        _check_rate(rate_hz)
        channels = frames.shape[1] if frames.ndim == 2 else 1
        config = self.model.config
        intake = _engine.Intake(rate_hz, _intake_channels(channels), config.encoder.hop_samples, self._encoding)
        intake.push(_mono_or_stereo(frames, channels))
        intake.finish()
        encoder = self._encoder.fork()
        latents = []
        samples = -(-len(frames) * config.sample_rate_hz // rate_hz)
        for _ in range(-(-samples // config.encoder.hop_samples)):
            hop = intake.pop_hop()
            if hop is None:
                raise RuntimeError("the intake gave fewer hops than it was given audio for")
            latents.append(encoder.step(hop))
        heard = [latent for latent in [*latents, *encoder.finish()] if latent is not None]
        return np.stack(heard) if heard else np.zeros((0, config.encoder.latent_channels), np.float32)

    def render(
        self,
        latents: np.ndarray,
        rate_hz: int,
        decoder: str | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Play latents float32 [H, L]: float32 [H hops] at rate_hz. progress: called with the hops played so far."""
        _check_rate(rate_hz)
        renderer = _engine.Renderer(rate_hz, self.model.hop_samples, self._voice(decoder), seed, temperature)
        pieces = [np.zeros(0, np.float32)]
        for i, latent in enumerate(np.ascontiguousarray(latents, np.float32)):
            pieces.append(renderer.push(latent))
            if progress is not None:
                progress(i + 1)
        samples = len(latents) * self.model.hop_samples
        wanted = samples * rate_hz // self.model.config.sample_rate_hz
        return np.concatenate([*pieces, renderer.flush()])[:wanted]

    @property
    def _encoding(self) -> str:
        return self.model.config.input_encoding if self._encoder else "linear"

    def _voice(self, decoder: str | None) -> _engine.Decoder | None:
        name = self.model.decoder_name(decoder)
        if not name:
            return None
        if name not in self._voices:
            self._voices[name] = networks.decoder(self.model, name, self.precision)
        return self._voices[name]


def translate(
    model: Model,
    frames: np.ndarray,
    rate_hz: int,
    decoder: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    precision: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Translate a whole signal: float32 [n] or [n, channels] at rate_hz to wet float32 [n], latency removed.

    progress: called with the count of frames taken so far, once a second of audio.
    """
    frames = np.asarray(frames, np.float32)
    channels = frames.shape[1] if frames.ndim == 2 else 1
    stream = Translator(model, precision=precision).open(
        rate_hz, channels, decoder=decoder, seed=seed, temperature=temperature
    )
    pieces = []
    for start in range(0, len(frames), rate_hz):
        pieces.append(stream.push(frames[start : start + rate_hz]))
        if progress is not None:
            progress(min(start + rate_hz, len(frames)))
    return np.concatenate([*pieces, stream.finish()])


def _check_rate(rate_hz: int) -> None:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise UserError(f"sample rate {rate_hz} Hz is not supported; it must be {RATES_HZ[0]} to {RATES_HZ[1]} Hz")


def _intake_channels(channels: int) -> int:
    return 2 if channels == 2 else 1


def _mono_or_stereo(frames: np.ndarray, channels: int) -> np.ndarray:
    """float32 [n, 1 or 2]: more channels than two are mixed down to one here, as the intake does with two."""
    frames = np.ascontiguousarray(frames, np.float32).reshape(-1, channels)
    if channels <= 2:
        return frames
    finite = np.where(np.isfinite(frames), frames, np.float32(0))
    mean: np.ndarray = finite.mean(axis=1, keepdims=True, dtype=np.float64)
    return mean.astype(np.float32)
