"""Linear prediction beside a decoder: the engine's against PyTorch's, and what both promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models import mu_law, prediction
from rtserver import _engine
from rtserver.model_config import DecoderConfig
from tests.parity.networks import random_decoder

ORDER = 128
RATE_HZ = 16000


def heard(audio: np.ndarray) -> torch.Tensor:
    """Network inputs [1, T] of the codes of audio [T]."""
    return mu_law.network_input(mu_law.encode(torch.from_numpy(audio.astype(np.float32))))[None]


def chord(samples: int) -> np.ndarray:
    t = np.arange(samples) / RATE_HZ
    partials = sum(np.sin(2 * np.pi * f * t + f) / k for k, f in enumerate((220, 277.2, 329.6, 440, 1318.5), start=1))
    return 0.2 * partials * np.exp(-2.0 * t)


@pytest.mark.parametrize("order", [1, 7, 37, 128, 300])
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 2500])
def test_the_engine_predicts_as_pytorch_does(order: int, samples: int) -> None:
    rng = np.random.default_rng(0)
    past = torch.cat([heard(chord(samples)), heard(chord(samples) + 0.02 * rng.standard_normal(samples))])
    found, expected = prediction.ahead(past, order), prediction.ahead_by_torch(past, order)
    assert found.shape == past.shape and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_it_follows_what_was_played() -> None:
    """Behind a chord it is a few codes wrong, where the sample before is a long way off; noise can't be told."""
    past = heard(chord(4000))
    error = 255.0 * (prediction.ahead(past, ORDER) - past).abs()[0, 2000:].mean()
    before = 255.0 * past.diff(dim=1).abs()[0, 2000:].mean()
    assert error < 1.5 and before > 10.0 * error
    noise = heard(0.2 * np.random.default_rng(0).standard_normal(4000))
    assert 255.0 * (prediction.ahead(noise, ORDER) - noise).abs()[0, 2000:].mean() > 50.0


def test_it_sees_the_past_only() -> None:
    past = heard(chord(3000))
    changed = past.clone()
    changed[:, 1500:] = 0.4
    for ahead in (prediction.ahead, prediction.ahead_by_torch):
        a, b = ahead(past, ORDER), ahead(changed, ORDER)
        assert torch.equal(a[:, :1501], b[:, :1501])
        assert not torch.equal(a[:, 1501:1600], b[:, 1501:1600])


@pytest.mark.parametrize(
    "signal",
    [np.zeros(2000), np.ones(2000), np.sign(np.sin(np.arange(2000) / 9.0)), 1e-4 * np.sin(np.arange(2000))],
    ids=["silence", "full scale", "square", "faint"],
)
def test_no_signal_upsets_it(signal: np.ndarray) -> None:
    found = prediction.ahead(heard(signal), ORDER)
    assert torch.isfinite(found).all() and found.abs().max() <= 0.5


@pytest.mark.parametrize("order", [0, -1, 1025])
def test_other_orders_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match="order: expected 1 to 1024, found"):
        _engine.predictions(order, np.zeros((1, 10), np.float32))


def test_classes_count_from_the_guess() -> None:
    codes = torch.arange(256).repeat(256)
    ahead = (torch.arange(256).repeat_interleave(256) / 255.0 - 0.5) + 0.4 / 255.0
    classes = prediction.classes_of(codes, ahead)
    assert classes.min() == 0 and classes.max() == 255
    assert torch.equal(prediction.codes_of(classes, ahead), codes)
    assert (classes[codes == torch.arange(256).repeat_interleave(256)] == prediction.MIDDLE).all()


def test_a_fresh_decoder_expects_small_errors() -> None:
    """So it plays on what was played, and learns the rest."""
    _, module, _ = random_decoder(DecoderConfig(1, 4, 16, 16, prediction_order=ORDER), 4, 160)
    chances = module.logits.bias.detach().softmax(0)
    assert chances.argmax() == prediction.MIDDLE and chances[prediction.MIDDLE - 8 : prediction.MIDDLE + 9].sum() > 0.8


def test_published_codes_are_refused() -> None:
    config, _, weights = random_decoder(DecoderConfig(1, 2, 8, 8, prediction_order=8), 2, 16)
    with pytest.raises(ValueError, match='"rounded" with a prediction, found "published"'):
        _engine.Decoder(config | {"mu_law": "published"}, weights)
    with pytest.raises(ValueError, match="prediction_order"):
        _engine.Decoder(config | {"prediction_order": 5000}, weights)
