"""Small decoders with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.decoder import Decoder
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
