"""Who plays the codes of a decoder that predicts pre-emphasised audio takes the emphasis back, from reset to reset."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.signal import lfilter

from models.emphasis import deemphasise
from models.emphasis import emphasise as of_tensor
from models.mu_law import decode_table
from rtserver import _engine
from rtserver.emphasis import emphasise
from rtserver.model_config import DecoderConfig
from tests.parity.networks import random_decoder

Floats = npt.NDArray[np.float32]
HOP, LATENTS, HOPS = 40, 4, 60
SMALL = DecoderConfig(blocks=1, layers=4, residual_channels=16, skip_channels=16)


def decoder(a: float | None, mu_law: str = "rounded", bias: float = 0.0) -> _engine.Decoder:
    """bias: added to the logits of the loudest codes, of one sign."""
    config, _, weights = random_decoder(SMALL, LATENTS, HOP)
    weights["logits.bias"][250:] += bias
    return _engine.Decoder(config | {"mu_law": mu_law} | ({} if a is None else {"emphasis": a}), weights)


def latents() -> Floats:
    return np.random.default_rng(4).standard_normal((HOPS, LATENTS)).astype(np.float32)


def played(found: _engine.Decoder, seed: int = 5) -> Floats:
    """At 16 kHz, where the renderer resamples nothing."""
    renderer = _engine.Renderer(16000, HOP, found, seed)
    return np.concatenate([*(renderer.push(latent) for latent in latents()), renderer.flush()])


def taken_back(y: Floats, a: float) -> npt.NDArray[np.float64]:
    """The inverse filter and the high pass of 10 Hz, in double, before anything is clipped."""
    return lfilter([1.0, -1.0], [1.0, -0.996], lfilter([1.0], [1.0, -a], y.astype(np.float64)))


def emphasised(found: _engine.Decoder, mu_law: str = "rounded", seed: int = 5) -> Floats:
    """What the codes say, before the filter."""
    codes = found.open_slot(seed).generate(latents())
    return decode_table("published" if mu_law == "published" else "rounded")[codes]


@pytest.mark.parametrize("mu_law", ["rounded", "published"])
@pytest.mark.parametrize("a", [0.5, 0.85, 0.95])
def test_it_is_the_inverse_filter_above_ten_hertz(a: float, mu_law: str) -> None:
    found = decoder(a, mu_law)
    y = emphasised(found, mu_law)
    expected = np.clip(taken_back(y, a), -1.0, 1.0)
    # The engine's state is double and so is scipy's: what is left is the rounding to float32, half a unit.
    np.testing.assert_allclose(played(found), expected, rtol=0, atol=2.0**-24)
    reference = np.clip(deemphasise(y.astype(np.float64), a), -1.0, 1.0)
    np.testing.assert_allclose(played(found), reference, rtol=0, atol=2.0**-23)
    # But for the high pass it is the inverse: a tone of 100 Hz comes back as it was, after the beginning.
    tone = (0.1 * np.sin(2 * np.pi * 100 * np.arange(8000) / 16000)).astype(np.float32)
    back = deemphasise(emphasise(tone, a), a)
    assert np.sqrt(2 * np.mean(back[4000:] ** 2)) == pytest.approx(0.1, rel=0.006)  # 1 / sqrt(1 + 0.1**2) = 0.995


def test_without_emphasis_nothing_changes() -> None:
    without = decoder(None)
    assert np.array_equal(played(decoder(0.0)), played(without))
    assert np.array_equal(played(without), emphasised(without))


def test_a_peak_is_clipped_and_leaves_no_trace() -> None:
    found = decoder(0.95, bias=20.0)
    y = emphasised(found)
    whole = taken_back(y, 0.95)
    assert whole.max() > 10.0
    np.testing.assert_allclose(played(found), np.clip(whole, -1.0, 1.0), rtol=0, atol=2.0**-24)


@pytest.mark.parametrize("code", [0, 127, 128, 255])
def test_silence_is_silent(code: int) -> None:
    """mu-law has no code for zero, so a decoder that rests says the same small number for ever."""
    config, _, weights = random_decoder(SMALL, LATENTS, HOP)
    weights["logits.weight"][:] = 0.0
    weights["logits.bias"][:] = -100.0
    weights["logits.bias"][code] = 100.0
    sound = played(_engine.Decoder(config | {"mu_law": "rounded", "emphasis": 0.85}, weights))
    assert len(sound) == HOP * HOPS and np.abs(sound[:10]).max() > 1e-5
    # 0.996 ** 2000 = 3e-4, of 6.7 times the loudest code
    assert np.abs(sound[2000:]).max() < 4e-4 * 6.7 * abs(decode_table("rounded")[code])


def test_a_reset_begins_in_silence() -> None:
    """A voice that is switched to starts afresh: so does its filter."""
    found = decoder(0.9)
    renderer = _engine.Renderer(16000, HOP, found, 5)
    first = np.concatenate([renderer.push(latent) for latent in latents()])
    assert np.array_equal(first, played(found)[: len(first)])
    assert np.array_equal(played(found), played(found))


@pytest.mark.parametrize("wrong", [-0.1, 0.96, 1.0, float("nan"), float("inf"), "much", True, None])
def test_what_is_wrong_is_refused_by_name(wrong: Any) -> None:
    config, _, weights = random_decoder(SMALL, LATENTS, HOP)
    with pytest.raises(ValueError, match=r"decoder config: expected .*emphasis"):
        _engine.Decoder(config | {"emphasis": wrong}, weights)


def test_emphasis_is_the_same_with_and_without_torch() -> None:
    audio = np.random.default_rng(6).uniform(-1.0, 1.0, (3, 500)).astype(np.float32)
    for a in (0.0, 0.85):
        found = emphasise(audio, a)
        assert np.array_equal(found, of_tensor(torch.from_numpy(audio), a).numpy())
        np.testing.assert_allclose(lfilter([1.0], [1.0, -a], found.astype(np.float64)), audio, atol=1e-6)
    assert np.array_equal(deemphasise(audio, 0.0), audio)
