"""The PyTorch encoder streams what it computes on whole signals, with and without lookahead."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.encoder import Encoder
from rtserver.model_config import EncoderConfig
from tests.parity.encoder_configs import kinds

SMALL = EncoderConfig(blocks=2, layers=4, channels=6, latent_channels=5, hop_samples=32)
CONFIGS = kinds(SMALL)


def network(config: EncoderConfig) -> Encoder:
    torch.manual_seed(1)
    return Encoder(config).double().eval()


def streamed(encoder: Encoder, x: Tensor) -> Tensor:
    """Latents [B, L, H] of a signal fed hop by hop, with the flush at its end."""
    hop, lag = encoder.config.hop_samples, -(-encoder.config.lookahead_samples // encoder.config.hop_samples)
    state = encoder.init_state(x.shape[0])
    latents = []
    for start in range(0, x.shape[2], hop):
        latent, state = encoder.step(x[:, :, start : start + hop], state)
        latents.append(latent)
    for _ in range(lag):
        latent, state = encoder.step(x.new_zeros(x.shape[0], 1, hop), state, end=x.shape[2])
        latents.append(latent)
    return torch.cat(latents, dim=2)[:, :, lag:]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("hops", [1, 2, 7, 20])
@torch.no_grad()
def test_hop_by_hop_equals_whole(name: str, hops: int) -> None:
    encoder = network(CONFIGS[name])
    x = torch.randn(2, 1, hops * encoder.config.hop_samples, dtype=torch.float64)
    whole = encoder(x)
    assert whole.shape == (2, encoder.config.latent_channels, hops)
    # Double precision: what is left is the order of additions, and a misplaced sample would show at 1e-2.
    torch.testing.assert_close(streamed(encoder, x), whole, rtol=0, atol=1e-12)


@torch.no_grad()
def test_lookahead_is_exactly_as_declared() -> None:
    encoder = network(CONFIGS["symmetric"])
    hop, ahead = encoder.config.hop_samples, encoder.config.lookahead_samples
    x = torch.randn(1, 1, 12 * hop, dtype=torch.float64)
    first = encoder(x)[:, :, 3]
    x[:, :, 4 * hop + ahead :] += 1.0
    assert torch.equal(encoder(x)[:, :, 3], first), "nothing beyond the lookahead matters"
    x[:, :, 4 * hop + ahead - 1] += 1.0
    assert not torch.equal(encoder(x)[:, :, 3], first), "the last sample of the lookahead does"


@torch.no_grad()
def test_a_causal_encoder_never_looks_ahead() -> None:
    encoder = network(CONFIGS["causal"])
    x = torch.randn(1, 1, 8 * encoder.config.hop_samples, dtype=torch.float64)
    first = encoder(x)[:, :, :4]
    x[:, :, 4 * encoder.config.hop_samples :] += 1.0
    assert torch.equal(encoder(x)[:, :, :4], first)
