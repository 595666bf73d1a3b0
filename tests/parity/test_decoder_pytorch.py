"""The PyTorch decoder streams the logits that it computes on whole signals, for any chunking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.decoder import Decoder
from rtserver.model_config import DecoderConfig

CONFIG = DecoderConfig(blocks=2, layers=5, residual_channels=6, skip_channels=10)
HOP, HOPS, LATENT = 32, 6, 3


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(2)
    return Decoder(CONFIG, LATENT, HOP).double().eval()


@pytest.fixture(scope="module")
def signal() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.rand(2, 1, HOP * HOPS).double() - 0.5, torch.randn(2, LATENT, HOPS).double()


def chunks(sizes: list[int]) -> list[int]:
    """Sizes, repeated over the signal and cut at every hop, as the engine cuts them."""
    result: list[int] = []
    for _ in range(HOPS):
        left, i = HOP, 0
        while left:
            result.append(min(sizes[i % len(sizes)], left))
            left -= result[-1]
            i += 1
    return result


@pytest.mark.parametrize("sizes", [[1], [16], [5], [HOP], [1, 7, 3]])
@torch.no_grad()
def test_streaming_equals_whole(decoder: Decoder, signal: tuple[Tensor, Tensor], sizes: list[int]) -> None:
    x, latents = signal
    whole = decoder(x, latents)
    shifted = torch.cat([x.new_zeros(2, 1, 1), x[:, :, :-1]], dim=2)
    state = decoder.init_state(2)
    pieces, t = [], 0
    for n in chunks(sizes):
        latent = latents[:, :, t // HOP : t // HOP + 1]
        logits, state = decoder.step(shifted[:, :, t : t + n], latent, state)
        pieces.append(logits)
        t += n
    assert t == HOP * HOPS
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=1e-12)


@torch.no_grad()
def test_streaming_equals_whole_with_what_is_predicted(decoder: Decoder, signal: tuple[Tensor, Tensor]) -> None:
    x, latents = signal
    ahead = torch.rand(2, 1, HOP * HOPS).double() - 0.5
    whole = decoder(x, latents, ahead)
    assert not torch.equal(whole, decoder(x, latents))
    shifted = torch.cat([x.new_zeros(2, 1, 1), x[:, :, :-1]], dim=2)
    before = torch.cat([x.new_zeros(2, 1, 1), shifted[:, :, :-1]], dim=2)
    assert torch.equal(decoder(x, latents, before), decoder(x, latents)), "without it, it is the sample before the last"
    state = decoder.init_state(2)
    pieces = []
    for t in range(0, HOP * HOPS, HOP):
        part = slice(t, t + HOP)
        logits, state = decoder.step(shifted[:, :, part], latents[:, :, t // HOP, None], state, ahead[:, :, part])
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=1e-12)


@torch.no_grad()
def test_logits_see_the_past_only(decoder: Decoder, signal: tuple[Tensor, Tensor]) -> None:
    x, latents = signal
    whole = decoder(x, latents)
    changed = x.clone()
    changed[:, :, 50:] += 0.25
    later = decoder(changed, latents)
    assert torch.equal(later[:, :, :51], whole[:, :, :51]), "sample 50 is not an input of its own logits"
    assert not torch.equal(later[:, :, 51], whole[:, :, 51])


@torch.no_grad()
def test_the_receptive_field_is_as_declared(decoder: Decoder, signal: tuple[Tensor, Tensor]) -> None:
    x, latents = signal
    last, reach = x.shape[2] - 1, CONFIG.receptive_field_samples
    whole = decoder(x, latents)[:, :, last]
    oldest = last - reach  # inputs are the samples before `last`: reach of them
    for at, matters in ((oldest, True), (oldest - 1, False)):
        changed = x.clone()
        changed[:, :, at] += 5.0
        assert torch.equal(decoder(changed, latents)[:, :, last], whole) != matters


@torch.no_grad()
def test_a_latent_reaches_its_own_hop_from_the_first_sample(decoder: Decoder, signal: tuple[Tensor, Tensor]) -> None:
    x, latents = signal
    whole = decoder(x, latents)
    changed = latents.clone()
    changed[:, :, 3] += 1.0
    differs = (decoder(x, changed) != whole).any(dim=1).any(dim=0).numpy()
    assert np.flatnonzero(differs)[0] == 3 * HOP


def test_other_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel size is 2, found 3"):
        Decoder(DecoderConfig(kernel_size=3), LATENT, HOP)
