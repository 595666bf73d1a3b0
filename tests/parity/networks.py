"""Small decoders with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models import prediction
from models.decoder import Decoder
from models.mu_law import network_input
from rtserver.model_config import DecoderConfig


def random_decoder(
    decoder: DecoderConfig, latent_channels: int, hop: int, gain: float = 1.0
) -> tuple[dict[str, Any], Decoder, dict[str, np.ndarray]]:
    """Config for an engine, the PyTorch module, and its weights. `gain` sharpens the logits."""
    torch.manual_seed(0)
    module = Decoder(decoder, latent_channels, hop).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)  # away from the linear part of the gates
        module.logits.weight.mul_(gain)
    config = vars(decoder) | {"latent_channels": latent_channels, "hop_samples": hop, "mu_law": "rounded"}
    return config, module, {k: v.detach().numpy().copy() for k, v in module.state_dict().items()}


@torch.no_grad()
def pytorch_logits(module: Decoder, latents: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """What an engine's `logits` must be, [T, 256] of each code: latents [H, L], codes [T]."""
    padded = np.zeros(len(latents) * module.hop_samples, np.uint8)
    padded[: len(codes)] = codes
    past = network_input(torch.from_numpy(padded))[None]
    given = torch.from_numpy(latents.T.copy())[None]
    order = module.config.prediction_order
    if not order:
        found = module(past[:, None], given)
    else:
        ahead = prediction.ahead_by_torch(past, order)
        of_classes = module(past[:, None], given, ahead[:, None])
        classes = prediction.classes_of(torch.arange(256)[None, :, None], ahead[:, None])
        found = of_classes.gather(1, classes)
    result: np.ndarray = found[0].T.numpy()[: len(codes)]
    return result
