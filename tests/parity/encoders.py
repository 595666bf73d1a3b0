"""An encoder as PyTorch has it, whole, and as the engine has it, hop by hop. Shapes: T samples, H hops, L latents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from models.encoder import Encoder
from rtserver import _engine
from rtserver.model_config import EncoderConfig

Floats = npt.NDArray[np.float32]


def network(config: EncoderConfig) -> Encoder:
    """The same weights every time."""
    torch.manual_seed(1)
    return Encoder(config).eval()


def streamed(encoder: _engine.Encoder | _engine.EncoderStream, x: Floats, hop_samples: int) -> Floats:
    """Latents [H, L] of x [T] and what comes at its end; a stream goes on from where it is."""
    stream = encoder.open_stream() if isinstance(encoder, _engine.Encoder) else encoder
    latents = [stream.step(hop) for hop in x.reshape(-1, hop_samples)]
    return np.stack([latent for latent in latents if latent is not None] + stream.finish())


@torch.no_grad()
def whole(encoder: Encoder, x: Floats) -> Floats:
    """Latents [H, L] of x [T]."""
    latents: Floats = encoder(torch.from_numpy(x)[None, None])[0].T.numpy()
    return latents
