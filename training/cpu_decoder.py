"""A decoder's losses and gradients by the engine's own training pass, where the processor has the kernels for it.

On a CPU PyTorch spends much of a training step on moving intermediate results to memory and back; the pass
(csrc/training) keeps a stretch of time in the cache through all layers. The numbers are those of models.Decoder within
float32's rounding; under autocast to bfloat16, and where the processor has AMX, matrix products are of bfloat16.
Shapes: B segments, T samples, L latent channels, H hops, N layers, R residual and S skip channels.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.decoder import Decoder, GatedLayer
from rtserver import _engine
from rtserver._engine import DecoderPass

KEPT_PASSES = 2  # of different shapes, with the memory for their activations

_free: dict[tuple[Any, ...], DecoderPass] = {}  # by shape, the one used last at the end


def usable(decoder: nn.Module, past: Tensor) -> bool:
    """Whether `losses`, `logits` and `draw` can stand in for it: a decoder with weights in float32, on a CPU that can.

    Without AMX they compute in float32 under autocast too: PyTorch with bfloat16 is slower.
    """
    width = DecoderPass.width()
    if not width or not isinstance(decoder, Decoder) or past.device.type != "cpu":
        return False
    config, dtype = decoder.config, decoder.input.weight.dtype
    compiled = decoder._compiled_call_impl is not None
    fits = not any(channels % width for channels in (config.residual_channels, config.skip_channels))
    return fits and dtype == torch.float32 and not compiled


def losses(decoder: Decoder, past: Tensor, latents: Tensor, wanted: Tensor, ahead: Tensor | None = None) -> Tensor:
    """Cross-entropy [B, T] in nats given past network inputs [B, T] and latents [B, L, H].

    wanted: int64 codes [B, T], or distributions [B, 256, T]. ahead: of a decoder with linear prediction what is
    predicted, [B, T]; codes are its classes then. Like the decoder's own, it can be differentiated once, with respect
    to weights and latents.
    """
    key, conditioning = _key(decoder, past), _conditioning(decoder, latents)
    given = wanted.transpose(1, 2).float() if wanted.dim() == 3 else wanted.to(torch.uint8)
    return cast(Tensor, _Losses.apply(key, past, ahead, given, *conditioning, *_weights(decoder)))


@torch.no_grad()
def logits(decoder: Decoder, past: Tensor, latents: Tensor, ahead: Tensor | None = None) -> Tensor:
    """Logits [B, 256, T] given past network inputs [B, T] and latents [B, L, H]; not to be differentiated."""
    key = _key(decoder, past)
    native = _take(key)
    layers, output = (_array(c) for c in _conditioning(decoder, latents))
    found = native.logits([_array(w) for w in _weights(decoder)], layers, output, _array(past), _maybe_array(ahead))
    _give_back(key, native)
    return torch.from_numpy(found).transpose(1, 2)


@torch.no_grad()
def draw(
    decoder: Decoder,
    past: Tensor,
    latents: Tensor,
    uniform: Tensor,
    temperature: float = 1.0,
    ahead: Tensor | None = None,
) -> Tensor:
    """Codes int64 [B, T] that the decoder draws with numbers [B, T] in [0, 1), led by past network inputs [B, T].

    temperature: above 0, what its logits are divided by. ahead: as in `losses`.
    """
    key = _key(decoder, past)
    native = _take(key)
    *others, last, last_bias = _weights(decoder)
    weights = [_array(w) for w in (*others, last / temperature, last_bias / temperature)]
    layers, output = (_array(c) for c in _conditioning(decoder, latents))
    codes = native.draw(weights, layers, output, _array(past), _array(uniform), _maybe_array(ahead))
    _give_back(key, native)
    return torch.from_numpy(codes).long()


@torch.no_grad()
def say(
    decoder: Decoder, codes: Tensor, latents: Tensor, own: Tensor, uniform: Tensor, temperature: float = 1.0
) -> Tensor:
    """Codes int64 [B, T] with those that are its own, bool [B, T], replaced by what the decoder says, playing alone.

    One after the other, in the engine on the CPU, wherever the decoder is: each is drawn with its number of uniform
    [B, T], led by all before it. latents: [B, L, H].
    """
    config = asdict(decoder.config) | {"latent_channels": latents.shape[1], "hop_samples": decoder.hop_samples}
    weights = {name: _array(tensor.float().cpu()) for name, tensor in decoder.state_dict().items()}
    engine = _engine.Decoder(config, weights)
    rows = zip(*(x.cpu() for x in (codes, latents.float().transpose(1, 2), own, uniform)), strict=True)
    said = [engine.say(_array(c), _array(k.to(torch.uint8)), _array(o), _array(u), temperature) for k, c, o, u in rows]
    return torch.from_numpy(np.stack(said)).long().to(codes.device)


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        key: tuple[Any, ...],
        past: Tensor,
        ahead: Tensor | None,
        wanted: Tensor,
        layers: Tensor,
        output: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        native = _take(key)
        arrays = [_array(w) for w in weights]
        predicted = _maybe_array(ahead)
        found = native.forward(arrays, _array(layers), _array(output), _array(past), _array(wanted), predicted)
        if any(ctx.needs_input_grad):
            ctx.key, ctx.native = key, native  # with the activations that `backward` needs
            ctx.save_for_backward(*weights)
        else:
            _give_back(key, native)
        return torch.from_numpy(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        native, ctx.native = ctx.native, None
        if native is None:
            raise RuntimeError("a decoder's losses can be differentiated once; compute them again")
        own, layers, output = native.backward([_array(w) for w in ctx.saved_tensors], _array(gradients[0]))
        _give_back(ctx.key, native)
        return (None, None, None, None, *map(torch.from_numpy, (layers, output, *own)))


def _key(decoder: Decoder, past: Tensor) -> tuple[Any, ...]:
    config, autocast = decoder.config, torch.is_autocast_enabled("cpu")
    bfloat16 = autocast and torch.get_autocast_dtype("cpu") == torch.bfloat16 and DecoderPass.has_bfloat16()
    shape = (config.residual_channels, config.skip_channels, tuple(config.dilations), decoder.hop_samples)
    return (bfloat16, *shape, *past.shape)


def _take(key: tuple[Any, ...]) -> DecoderPass:
    if key in _free:
        return _free.pop(key)
    bfloat16, r, s, dilations, hop, batch, samples = key
    return DecoderPass(
        residual_channels=r,
        skip_channels=s,
        dilations=list(dilations),
        hop_samples=hop,
        batch=batch,
        samples=samples,
        bfloat16=bfloat16,
    )


def _give_back(key: tuple[Any, ...], native: DecoderPass) -> None:
    _free[key] = native
    while len(_free) > KEPT_PASSES:
        del _free[next(iter(_free))]


@torch.autocast("cpu", enabled=False)
def _conditioning(decoder: Decoder, latents: Tensor) -> tuple[Tensor, Tensor]:
    """What latents [B, L, H] and biases add to each layer [N, B, H, 2R] and to the output [B, H, S]."""
    latents = latents.float()
    layers = [
        layer.latent(latents) + cast(Tensor, layer.dilated.bias)[:, None]
        for layer in cast(list[GatedLayer], decoder.layers)
    ]
    output = decoder.output_latent(latents) + cast(Tensor, decoder.output.bias)[:, None]
    return torch.stack(layers).transpose(2, 3), output.transpose(1, 2)


def _weights(decoder: Decoder) -> list[Tensor]:
    """In the order of DecoderPass."""
    d = decoder
    weights: list[Any] = [d.input.weight, d.input.bias, d.input_skip.weight, d.input_skip.bias]
    for layer in cast(list[GatedLayer], d.layers):
        weights += [layer.dilated.weight, layer.residual.weight, layer.residual.bias]
        weights += [layer.skip.weight, layer.skip.bias]
    return [*weights, d.output.weight, d.logits.weight, d.logits.bias]


def _maybe_array(tensor: Tensor | None) -> np.ndarray | None:
    return None if tensor is None else _array(tensor)


def _array(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor, where they lie if they lie in order."""
    return cast(np.ndarray, tensor.detach().contiguous().numpy())
