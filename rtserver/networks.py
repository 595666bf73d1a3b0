"""A model's networks made ready to run: the same for the audio worker, for files and for measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtserver import precision as precisions
from rtserver.model_file import Model

if TYPE_CHECKING:
    from rtserver import _engine

WARM_UP_HOPS = 3  # a decoder's first two hops touch its weights and histories for the first time


def decoder(model: Model, name: str, precision: str) -> _engine.Decoder:
    """The decoder of that name. precision: as `rtserver.precision.check` gives it. ValueError from the engine."""
    ranges = precisions.decoder_ranges(model.calibration, name)
    codes = precisions.decoder_codes(model.calibration, name)
    resolved = precisions.resolve(precision, model)
    return precisions.decoder(model.decoder_config(name), model.decoders[name], resolved, ranges, codes)


def decoder_on(model: Model, name: str, precision: str, device: str) -> tuple[Any, str]:
    """The decoder of that name on "cpu" or "cuda:N", and why it is on the CPU although a GPU was asked for, else "".

    precision: as `rtserver.precision.check` gives it. ValueError from the engine.
    """
    if device == "cpu":
        return decoder(model, name, precision), ""
    found, reason = _on_gpu(model, name, precision, int(device.partition(":")[2] or 0))
    return (found, "") if found is not None else (decoder(model, name, precision), reason)


def _on_gpu(model: Model, name: str, precision: str, index: int) -> tuple[Any, str]:
    from rtserver import _engine

    if not _engine.CUDA_ARCHITECTURES:
        return None, "this build has no CUDA (there was no nvcc when it was made)"
    try:
        config, weights = model.decoder_config(name), model.decoders[name]
        return _engine.CudaDecoder(config, weights, precision=precisions.on_gpu(precision), device=index), ""
    except RuntimeError as error:
        return None, str(error)


def encoder(model: Model, device: str = "cpu", precision: str = "fp32") -> Any:
    """The encoder, whose `fork()` opens a stream of hops. precision: as `rtserver.precision.check` gives it."""
    from rtserver.encoder import open_encoder

    resolved = precisions.of_encoder(precisions.resolve(precision, model))
    return open_encoder(
        model.config.encoder, model.encoder, device, resolved, precisions.encoder_ranges(model.calibration)
    )


def warm_up(model: Model, encoder: Any, decoders: list[_engine.Decoder]) -> None:
    """Run a few hops through each, so that the first session finds code, weights and memory where they are needed."""
    noise = np.random.default_rng(0)
    stream = encoder.fork()
    for _ in range(WARM_UP_HOPS):
        stream.step(noise.uniform(-0.5, 0.5, model.config.encoder.hop_samples).astype(np.float32))
    latents = noise.standard_normal((WARM_UP_HOPS, model.config.encoder.latent_channels)).astype(np.float32)
    for voice in decoders:
        voice.open_slot().generate(latents)
