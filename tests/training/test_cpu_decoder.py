"""The training pass of the CPU beside PyTorch's: the same losses, gradients and draws, whatever the shape."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models import mu_law
from models.decoder import Decoder
from rtserver._engine import DecoderPass, available_isas
from rtserver.model_config import DecoderConfig
from training import cpu_decoder
from training.network import draw_codes

pytestmark = pytest.mark.skipif(not DecoderPass.width(), reason="this processor has no kernels of the training pass")

ISAS = [isa for isa in ("avx2", "avx512") if isa in available_isas()]
HOP, LATENT = 160, 16
# blocks, layers, R, S, segments, samples: stretches of 192 that do and don't fit, dilations beyond the segment
SHAPES = [
    (1, 1, 16, 16, 1, 192),
    (2, 4, 48, 64, 3, 500),
    (1, 9, 32, 48, 2, 200),
    (2, 3, 64, 128, 1, 1),
    (1, 5, 96, 32, 2, 1601),
]


def example(shape: tuple[int, ...], seed: int = 0) -> tuple[Decoder, torch.Tensor, torch.Tensor, torch.Tensor]:
    blocks, layers, r, s, batch, samples = shape
    torch.manual_seed(seed)
    decoder = Decoder(DecoderConfig(blocks=blocks, layers=layers, residual_channels=r, skip_channels=s), LATENT, HOP)
    codes = torch.randint(0, 256, (batch, samples))
    past = mu_law.network_input(codes) + 0.01 * torch.randn(batch, samples)
    latents = torch.randn(batch, LATENT, -(-samples // HOP), requires_grad=True)
    return decoder, past, latents, codes


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An instruction set that every pass is made for."""
    name = str(request.param)
    monkeypatch.setenv("RTSERVER_ISA", name)
    monkeypatch.setattr(cpu_decoder, "_free", {})
    return name


def of_torch(decoder: Decoder, past: torch.Tensor, latents: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(decoder(past.unsqueeze(1), latents), wanted, reduction="none")


def distributions(codes: torch.Tensor) -> torch.Tensor:
    """[B, 256, T] about codes [B, T], some of them sharp enough to have no chance elsewhere."""
    logits = 4.0 * torch.randn(codes.shape[0], 256, codes.shape[1]) * torch.rand(codes.shape[0], 1, codes.shape[1])
    return logits.scatter_add_(1, codes[:, None], torch.randint(0, 120, codes[:, None].shape).float()).softmax(dim=1)


@pytest.mark.parametrize("soft", [False, True], ids=["codes", "distributions"])
@pytest.mark.parametrize("shape", SHAPES)
def test_losses_and_gradients_are_those_of_pytorch(shape: tuple[int, ...], soft: bool, isa: str) -> None:
    decoder, past, latents, codes = example(shape)
    other, twin = copy.deepcopy(decoder), latents.detach().clone().requires_grad_()
    assert cpu_decoder.usable(decoder, past)
    weight = torch.rand(codes.shape)  # each loss counts differently
    wanted = distributions(codes) if soft else codes
    found, expected = cpu_decoder.losses(decoder, past, latents, wanted), of_torch(other, past, twin, wanted)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    assert latents.grad is not None and twin.grad is not None
    gradients = {"latents": (latents.grad, twin.grad)}
    for (name, mine), theirs in zip(decoder.named_parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        gradients[name] = (mine.grad, torch.zeros_like(mine) if theirs.grad is None else theirs.grad)
    for name, (mine, theirs) in gradients.items():
        scale = float(theirs.abs().max())
        assert float((mine - theirs).abs().max()) <= 2e-5 * scale + 1e-7, name
        if not name.startswith(f"layers.{shape[0] * shape[1] - 1}.residual") and shape[5] > 1:
            assert scale > 0.0, f"{name}: nothing to compare"


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_pytorch(shape: tuple[int, ...], isa: str) -> None:
    decoder, past, latents, _ = example(shape)
    found = cpu_decoder.logits(decoder, past, latents)
    assert not found.requires_grad
    torch.testing.assert_close(found, decoder(past.unsqueeze(1), latents).detach(), rtol=1e-5, atol=1e-5)


def test_what_it_says_itself_teaches_it_nothing() -> None:
    """The cross-entropy of its own distribution is the entropy, and every gradient is nearly 0."""
    decoder, past, latents, codes = example(SHAPES[1])
    own = cpu_decoder.logits(decoder, past, latents).softmax(dim=1)
    losses = cpu_decoder.losses(decoder, past, latents, own)
    torch.testing.assert_close(losses, -(own * own.log()).sum(dim=1), rtol=1e-5, atol=1e-5)
    losses.mean().backward()
    mine = [p.grad.abs().max() for p in decoder.parameters() if p.grad is not None]
    decoder.zero_grad()
    cpu_decoder.losses(decoder, past, latents, codes).mean().backward()
    theirs = [p.grad.abs().max() for p in decoder.parameters() if p.grad is not None]
    assert max(mine) < 1e-4 * max(theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_are_those_of_pytorch(shape: tuple[int, ...], isa: str) -> None:
    decoder, past, latents, _ = example(shape)
    uniform = torch.rand(past.shape)
    expected = draw_codes(decoder(past.unsqueeze(1), latents).detach(), uniform)
    found = cpu_decoder.draw(decoder, past, latents, uniform)
    assert found.dtype == torch.int64
    assert float((found == expected).float().mean()) > 0.995, "but for sums that round to the other side"
    assert int((found - expected).abs().max()) <= 1


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_what_is_predicted_stands_in_for_the_sample_before_the_last(shape: tuple[int, ...], isa: str) -> None:
    decoder, past, latents, codes = example(shape)
    ahead, uniform = torch.rand(past.shape) - 0.5, torch.rand(past.shape)
    other = copy.deepcopy(decoder)
    logits = other(past.unsqueeze(1), latents.detach(), ahead.unsqueeze(1))
    found = cpu_decoder.losses(decoder, past, latents, codes, ahead)
    expected = F.cross_entropy(logits, codes, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, cpu_decoder.losses(decoder, past, latents, codes))
    found.sum().backward()
    expected.sum().backward()
    assert decoder.input.weight.grad is not None and other.input.weight.grad is not None
    scale = float(other.input.weight.grad.abs().max())
    assert float((decoder.input.weight.grad - other.input.weight.grad).abs().max()) <= 2e-5 * scale
    drawn = cpu_decoder.draw(decoder, past, latents, uniform, ahead=ahead)
    assert float((drawn == draw_codes(logits.detach(), uniform)).float().mean()) > 0.995


def test_the_rounding_is_the_same_every_time() -> None:
    decoder, past, latents, codes = example(SHAPES[1])
    first = cpu_decoder.losses(decoder, past, latents, codes)
    cpu_decoder.draw(decoder, past, latents, torch.rand(past.shape))  # uses the memory of a pass of this shape
    again = cpu_decoder.losses(decoder, past, latents, codes)
    assert torch.equal(first, again)
    for losses in (first, again):
        decoder.zero_grad()
        losses.sum().backward()
        gradient = decoder.logits.weight.grad
        assert gradient is not None
        if losses is first:
            kept = gradient.clone()
    assert torch.equal(kept, gradient), "each has the activations of its own"


def test_losses_are_differentiated_once() -> None:
    decoder, past, latents, codes = example(SHAPES[0])
    loss = cpu_decoder.losses(decoder, past, latents, codes).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once; compute them again"):
        loss.backward()


def test_without_gradients_nothing_is_kept() -> None:
    decoder, past, latents, codes = example(SHAPES[1])
    with torch.no_grad():
        losses = cpu_decoder.losses(decoder, past, latents, codes)
    assert not losses.requires_grad
    assert len(cpu_decoder._free) <= cpu_decoder.KEPT_PASSES


def test_extreme_logits_give_finite_losses() -> None:
    decoder, past, latents, codes = example(SHAPES[1])
    with torch.no_grad():
        decoder.logits.weight *= 1e4
    found = cpu_decoder.losses(decoder, past, latents, codes)
    expected = of_torch(decoder, past, latents, codes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)
    found.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters() if p.grad is not None)


def test_under_autocast_it_stays_float32_without_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTSERVER_ISA", "avx2")
    monkeypatch.setattr(cpu_decoder, "_free", {})
    assert not DecoderPass.has_bfloat16()
    decoder, past, latents, codes = example(SHAPES[1])
    expected = cpu_decoder.losses(decoder, past, latents, codes)
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_decoder.usable(decoder, past)
        found = cpu_decoder.losses(decoder, past, latents.bfloat16().float(), codes)
        drawn = cpu_decoder.draw(decoder, past, latents.bfloat16(), torch.rand(past.shape))
    assert found.dtype == torch.float32 and drawn.dtype == torch.int64
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.05)  # the latents were rounded
    found.sum().backward()
    assert latents.grad is not None


@pytest.mark.skipif(not DecoderPass.has_bfloat16(), reason="this processor has no AMX")
@pytest.mark.parametrize("soft", [False, True], ids=["codes", "distributions"])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 3, 48, 48, 1, 321), (1, 2, 256, 256, 1, 70)])
def test_products_of_bfloat16_are_nearly_those_of_float32(shape: tuple[int, ...], soft: bool) -> None:
    """Rows, columns and depths that do and don't fill tiles; errors are of the 2^-9 that rounding may be off."""
    decoder, past, latents, codes = example(shape)
    wanted = distributions(codes) if soft else codes
    weight, uniform = torch.rand(codes.shape), torch.rand(codes.shape)
    expected = cpu_decoder.losses(decoder, past, latents, wanted)
    (expected * weight).sum().backward()
    gradients = {name: p.grad for name, p in decoder.named_parameters()} | {"latents": latents.grad}
    decoder.zero_grad()
    latents.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        found = cpu_decoder.losses(decoder, past, latents, wanted)
        logits = cpu_decoder.logits(decoder, past, latents)
        drawn = cpu_decoder.draw(decoder, past, latents, uniform)
    (found * weight).sum().backward()
    assert found.dtype == torch.float32
    assert shape[5] < 16 or not torch.equal(found, expected), "nothing was rounded"
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.02)
    torch.testing.assert_close(logits, cpu_decoder.logits(decoder, past, latents), rtol=0.0, atol=0.05)
    assert float((drawn == cpu_decoder.draw(decoder, past, latents, uniform)).float().mean()) > 0.9
    for name, p in [*decoder.named_parameters(), ("latents", latents)]:
        theirs = gradients[name]
        if theirs is None or float(theirs.norm()) < 1e-6:
            continue
        assert p.grad is not None
        assert float((p.grad - theirs).norm()) < 0.1 * float(theirs.norm()), name


def test_bfloat16_without_amx_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTSERVER_ISA", "avx2")
    with pytest.raises(ValueError, match="bfloat16 needs AMX"):
        DecoderPass(
            residual_channels=16, skip_channels=16, dilations=[1], hop_samples=HOP, batch=1, samples=10, bfloat16=True
        )


def test_other_decoders_are_left_to_pytorch() -> None:
    decoder, past, _, _ = example(SHAPES[1])
    odd = Decoder(DecoderConfig(blocks=1, layers=2, residual_channels=20, skip_channels=32), LATENT, HOP)
    assert not cpu_decoder.usable(odd, past)
    assert not cpu_decoder.usable(decoder.double(), past)
    decoder.float()
    decoder._compiled_call_impl = decoder.forward  # what compile() leaves; itself it would import for seconds
    assert not cpu_decoder.usable(decoder, past)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"residual_channels": 20}, "channels in multiples of"),
        ({"dilations": []}, "layers"),
        ({"dilations": [0]}, "dilations above 0"),
        ({"samples": 0}, "samples above 0"),
    ],
)
def test_a_shape_that_can_not_be_is_refused(change: dict[str, object], expected: str) -> None:
    shape = {
        "residual_channels": 16,
        "skip_channels": 16,
        "dilations": [1, 2],
        "hop_samples": HOP,
        "batch": 1,
        "samples": 10,
    }
    with pytest.raises(ValueError, match=expected):
        DecoderPass(**{**shape, **change})  # type: ignore[arg-type]


def test_arrays_that_do_not_fit_are_refused() -> None:
    native = DecoderPass(residual_channels=16, skip_channels=16, dilations=[1], hop_samples=HOP, batch=1, samples=10)
    with pytest.raises(ValueError, match="input_bias is missing"):
        native.backward([np.zeros(32, np.float32)], np.zeros(10, np.float32))
    with pytest.raises(ValueError, match="input: expected 32 numbers"):
        native.backward([np.zeros(3, np.float32)], np.zeros(10, np.float32))


SIZES = [32, 16, 256, 16, 1024, 256, 16, 256, 16, 256, 4096, 256]  # of the weights of one layer, R = S = 16


def test_gradients_need_losses_before_them() -> None:
    native = DecoderPass(residual_channels=16, skip_channels=16, dilations=[1], hop_samples=HOP, batch=1, samples=10)
    with pytest.raises(RuntimeError, match="need losses before them"):
        native.backward([np.zeros(size, np.float32) for size in SIZES], np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (np.zeros(9, np.uint8), "wanted: expected 10 numbers"),
        (np.zeros((10, 255), np.float32), "wanted: expected 2560 numbers"),
        (np.zeros(10, np.int64), "wanted: expected a C-contiguous uint8 array"),
    ],
)
def test_what_is_wanted_must_fit(wanted: np.ndarray, expected: str) -> None:
    r, s = 16, 16
    native = DecoderPass(residual_channels=r, skip_channels=s, dilations=[1], hop_samples=HOP, batch=1, samples=10)
    weights = [np.zeros(size, np.float32) for size in SIZES]
    given = np.zeros((1, 1, 1, 2 * r), np.float32), np.zeros((1, 1, s), np.float32), np.zeros(10, np.float32)
    with pytest.raises((ValueError, TypeError), match=expected):
        native.forward(weights, *given, wanted)
